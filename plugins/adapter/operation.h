// What the adapters want from an operation, which knows nothing of TensorRT's interfaces.
//
// An `Op` is a value: a copy shares nothing that changes. Its failures throw Error.
//
//   Op::kName                        plugin name
//   Op::Config                       see config_fields.h; also Config::kEngineMagic
//   explicit Op(const Config&)       throws for what no kernel serves
//   const Config& config() const
//   Signature signature() const      names and types of its tensors
//   DimsExprs<Abi> output_shape(int32_t index, const DimsExprs<Abi>* inputs, ExprBuilder<Abi>&)
//   const void check_largest(const Shapes&) const
//                                    throws for shapes that, taken as maxima, no call can have
//   int64_t workspace_bound(const Shapes&) const
//                                    bytes that suffice for every call within these maxima on every
//                                    device; looks at inputs alone
//   int32_t aliased_input(int32_t output) const
//                                    the input whose memory the output must share, -1 for none
//   void attach()                    resolves the driver and loads the kernels for the device of
//   the
//                                    current context
//   void check(const Shapes&) const  throws for shapes that no call can have
//   void enqueue(const Shapes&, const Buffers&, CUstream) const
//                                    launches the operation, after attach(); checks before the
//                                    first launch, so that a refused call writes nothing
