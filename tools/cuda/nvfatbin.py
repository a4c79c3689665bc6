"""Packs a kernel image into a fatbin, compressed as the driver of that CUDA release inflates it."""

from __future__ import annotations

import ctypes


class NvFatbin:
    """The few functions of libnvfatbin that this takes."""

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path)
        self._library.nvFatbinGetErrorString.restype = ctypes.c_char_p

    def _check(self, result: int) -> None:
        if result:
            raise RuntimeError(self._library.nvFatbinGetErrorString(result).decode())

    def _add(self, fatbin: ctypes.c_void_p, image: bytes, kind: str, arch: str, name: str) -> None:
        labels = [arch.encode(), name.encode()]
        if kind == "cubin":
            size = ctypes.c_size_t(len(image))
            self._check(self._library.nvFatbinAddCubin(fatbin, image, size, *labels))
        else:
            size = ctypes.c_size_t(len(image) + 1)  # with the zero that ctypes puts behind it
            self._check(self._library.nvFatbinAddPTX(fatbin, image, size, *labels, b""))

    def pack(self, image: bytes, kind: str, arch: str, name: str) -> bytes:
        """A fatbin of one image.

        Args:
          image: what NVRTC made.
          kind: "cubin" or "ptx".
          arch: NVRTC's name of the architecture, such as "90a".
          name: what tools call the image.

        Raises:
          RuntimeError: the image is not what `kind` and `arch` say.
        """
        fatbin = ctypes.c_void_p()
        options = (ctypes.c_char_p * 1)(b"-compress-all")
        self._check(self._library.nvFatbinCreate(ctypes.byref(fatbin), options, len(options)))
        try:
            self._add(fatbin, image, kind, arch, name)
            size = ctypes.c_size_t()
            self._check(self._library.nvFatbinSize(fatbin, ctypes.byref(size)))
            packed = ctypes.create_string_buffer(size.value)
            self._check(self._library.nvFatbinGet(fatbin, packed))
            return packed.raw
        finally:
            self._library.nvFatbinDestroy(ctypes.byref(fatbin))
