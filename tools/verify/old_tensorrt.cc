// TensorRT 8.5.3, for tests.
extern "C" __attribute__((visibility("default"))) int getInferLibVersion() { return 8503; }
