// The smallest kernel that shows what cuda_images defines for a source.
extern "C" __global__ void KERNEL_SYMBOL(int* sm) { *sm = KERNEL_SM; }
