"""A second clean checkout takes every action from a remote cache that the first one filled, and a
platform takes the kernels that another one compiled.

The cache is nginx with WebDAV, configured as docs/remote.md says.
"""

from __future__ import annotations

import pathlib
import re

from tests.hermetic.checkout import Checkout, processes
from tests.hermetic.server import free_port, serve
from tests.house.source_tree import runfile

KERNELS = "//tools/cuda/tests:sample_images"
TARGETS = (KERNELS, "//tools/testing:testing_test")


def nginx_configuration(port: int, folder: pathlib.Path) -> str:
    """The one of docs/remote.md, with another port and folder."""
    page = runfile("PAGE").read_text()
    block = re.search(r"```nginx\n(.*?)```", page, re.DOTALL)
    assert block, "docs/remote.md has no nginx block"
    text = block[1]
    for documented, actual in (("8080", str(port)), ("/var/cache/edge-llm-plugins", str(folder))):
        assert documented in text, f"the nginx block of docs/remote.md does not name {documented}"
        text = text.replace(documented, actual)
    # It makes a folder for each of these protocols, though none is spoken, else below /var/lib.
    unused = "".join(f"{name}_temp_path unused;" for name in ("fastcgi", "proxy", "scgi", "uwsgi"))
    return text.replace("http {", "http {" + unused)


def test_second_checkout_and_platform_take_every_action_from_the_cache(
    tmp_path: pathlib.Path,
) -> None:
    port, served, configuration = free_port(), tmp_path / "served", tmp_path / "nginx.conf"
    served.mkdir()
    configuration.write_text(nginx_configuration(port, served))
    loader = runfile("LOADER")
    nginx = [str(loader), "--library-path", str(loader.parent), str(runfile("NGINX"))]
    # One process, of this user: workers would become nobody, who cannot write here.
    nginx += ["-c", str(configuration), "-p", str(tmp_path), "-e", "stderr"]
    nginx += ["-g", "daemon off; master_process off;"]

    flags = ("--sms=87", f"--remote_cache=http://127.0.0.1:{port}/cache")

    def build(checkout: Checkout) -> tuple[dict[str, int], bytes]:
        output = checkout.build(*flags, *TARGETS)
        program = (checkout.sources / "bazel-bin/tools/testing/testing_test").read_bytes()
        return processes(output), program

    with serve(nginx, port, tmp_path / "nginx.log"):
        with Checkout(tmp_path / "first", runfile("SOURCES")) as checkout:
            filled, program = build(checkout)
        with Checkout(tmp_path / "a/second/checkout", runfile("SOURCES")) as checkout:
            taken, program_of_second = build(checkout)
            # Another processor, and the same CUDA release: the kernels alone.
            of_jetson = checkout.build(
                *flags, "--config=jetpack7_orin", "--output_groups=reports", KERNELS
            )

    assert "remote cache hit" not in filled, f"the cache was not empty: {filled}"
    assert taken == {"remote cache hit": sum(filled.values())}, f"first {filled}, second {taken}"
    assert program == program_of_second
    assert processes(of_jetson).keys() == {"remote cache hit"}, f"a Jetson's: {of_jetson}"
