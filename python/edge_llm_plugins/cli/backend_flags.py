"""The flags of commands that run a model: where, and with which back end."""

from __future__ import annotations

from absl import flags

from edge_llm_plugins import host
from edge_llm_plugins.models.folder import QuantizedModel
from edge_llm_plugins.models.limits import Limits
from edge_llm_plugins.runtime.backends import Backend, HostBackend, ReferenceBackend


class BackendFlags:
    """Defines the flags among those of a command, and opens what they ask for."""

    def __init__(self, flag_values: flags.FlagValues) -> None:
        self._engine = flags.DEFINE_string(
            "engine",
            None,
            "An engine that `build` wrote of this model; TensorRT runs it on the GPU. The other "
            "flags of limits and of where plugins run do not matter then.",
            flag_values=flag_values,
        )
        self._device = flags.DEFINE_enum(
            "device",
            "auto",
            ["auto", "gpu", "emulator", "reference"],
            "Where the plugins run; reference: NumPy without plugins. auto: the GPU when there is "
            "one, else the emulator.",
            flag_values=flag_values,
        )
        self._sm = flags.DEFINE_integer(
            "sm", None, "The SM to emulate, such as 87.", flag_values=flag_values
        )
        self._plugin_version = flags.DEFINE_enum(
            "plugin_version",
            "2",
            ["1", "2"],
            "1 is IPluginV2DynamicExt, 2 is IPluginV3.",
            flag_values=flag_values,
        )
        self._checks = flags.DEFINE_bool(
            "emulator_checks",
            False,
            "Has the emulator look for races, uninitialised reads and the like; several times "
            "slower.",
            flag_values=flag_values,
        )
        self._prefill_tokens = flags.DEFINE_integer(
            "prefill_tokens",
            512,
            "Tokens of the prompt that are computed at once.",
            flag_values=flag_values,
        )
        self._tree_tokens = flags.DEFINE_integer(
            "tree_tokens",
            8,
            "Tokens of a step with --speculative, at most 128.",
            flag_values=flag_values,
        )

    def open(self, folder: str, capacity: int, *, speculative: bool) -> tuple[Backend, str]:
        """Opens a back end.

        Args:
          folder: a quantized model folder.
          capacity: tokens that a row may have; no more than the model has positions for.
          speculative: whether draft trees will come.

        Returns:
          The back end, and where it runs, for people.
        """
        model = QuantizedModel(folder)
        if self._engine.value is not None:
            return _open_engine(model, self._engine.value)
        capacity = min(capacity, model.config.max_positions)
        trees = self._tree_tokens.value if speculative else 0
        limits = Limits(
            capacity,
            prefill_tokens=min(self._prefill_tokens.value, capacity),
            tree_tokens=min(trees, capacity),
        )
        if self._device.value == "reference":
            return ReferenceBackend(model, limits), "NumPy"
        backend = HostBackend(
            model,
            limits,
            device={"gpu": "cuda"}.get(self._device.value, self._device.value),
            sm=self._sm.value,
            plugin_version=self._plugin_version.value,
            emulator_checks="all" if self._checks.value else "none",
        )
        return backend, self._place(backend.device)

    def _place(self, device: host.Device) -> str:
        if device.kind != "emulator":
            return device.name
        return f"{device.name}, its checks {'on' if self._checks.value else 'off'}"


def _open_engine(model: QuantizedModel, path: str) -> tuple[Backend, str]:
    # Here, as it takes TensorRT's side of the package along.
    from edge_llm_plugins.runtime.engine_backend import EngineBackend

    backend = EngineBackend(path)
    if backend.config != model.config:
        raise ValueError(f"--engine is {path}: it was built of another model than {model.path}")
    return backend, f"{backend.metadata.package} {backend.metadata.tensorrt}, {backend.device.name}"
