// What the adapters want from an operation, which knows nothing of TensorRT's interfaces.
//
// An operation `Op` is a value: a copy shares nothing that changes. Its failures throw Error.
//
// Op::kName
//     Name of the plugin.
// Op::Config, explicit Op(const Config&), const Config& config() const
//     What it is created from: config_fields.h, and Config::kEngineMagic. The constructor throws
//     for a configuration that no kernel serves.
// Signature signature() const
//     Names and types of its tensors.
// DimsExprs<Abi> output_shape(int32_t output, const DimsExprs<Abi>* inputs, ExprBuilder<Abi>&)
// const
//     A template over Abi.
// int32_t aliased_input(int32_t output) const
//     The input whose memory the output must share, or -1.
// void check_largest(const Shapes&) const
//     Throws for shapes that, taken as the maxima of a profile, no call can have.
// int64_t workspace_bound(const Shapes&) const
//     Bytes that suffice for every call within these maxima on every device. Reads inputs alone.
// void attach()
//     Resolves the driver and loads the kernels for the device of the current context.
// void check(const Shapes&) const
//     Throws for shapes that no call can have.
// void enqueue(const Shapes&, const Buffers&, CUstream) const
//     Launches the operation, after attach(). All checks precede the first launch: a refused call
//     writes nothing.
