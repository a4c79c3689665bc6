"""Packs a cubin into a fatbin, compressed as the driver of the same CUDA release inflates it."""

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

    def pack(self, cubin: bytes, arch: str, name: str) -> bytes:
        """A fatbin of one cubin.

        Args:
          cubin: what NVRTC made.
          arch: NVRTC's name of the architecture, such as "90a".
          name: what tools call the image.

        Raises:
          RuntimeError: it is no cubin of this architecture.
        """
        fatbin = ctypes.c_void_p()
        options = (ctypes.c_char_p * 1)(b"-compress-all")
        self._check(self._library.nvFatbinCreate(ctypes.byref(fatbin), options, len(options)))
        try:
            size = ctypes.c_size_t(len(cubin))
            self._check(
                self._library.nvFatbinAddCubin(fatbin, cubin, size, arch.encode(), name.encode())
            )
            self._check(self._library.nvFatbinSize(fatbin, ctypes.byref(size)))
            packed = ctypes.create_string_buffer(size.value)
            self._check(self._library.nvFatbinGet(fatbin, packed))
            return packed.raw
        finally:
            self._library.nvFatbinDestroy(ctypes.byref(fatbin))
