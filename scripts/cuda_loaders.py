#!/usr/bin/env python3
"""Makes static libraries that stand for CUDA's shared ones: scripts/cuda_loaders.py CUDARC_DIR OUT_DIR

cudarc links CUDA's libraries by name, and a program that is linked with libcuda.so.1 does not start where there is none. Each
library made here (libcuda.a, libcublas.a, ...) has one jump for every function that cudarc declares. When the program starts,
it looks for the real library with dlopen and points the jumps at its functions. Where the library is missing, the jumps lead
to a function that returns the library's error code, so that the program starts and can say what is wrong.

CUDARC_DIR is the unpacked crate. Needs a C compiler (CC, or cc) and ar (AR, or ar).
"""

import os
import re
import subprocess
import sys
from pathlib import Path

# Library, module of cudarc, shared objects to look for, status to return where there is none, name of that status.
LIBRARIES = [
    ("cuda", "driver", ["libcuda.so.1"], 100, "CUDA_ERROR_NO_DEVICE"),
    ("nvrtc", "nvrtc", ["libnvrtc.so.13"], 11, "NVRTC_ERROR_INTERNAL_ERROR"),
    ("curand", "curand", ["libcurand.so.10"], 203, "CURAND_STATUS_INITIALIZATION_FAILED"),
    ("cublas", "cublas", ["libcublas.so.13"], 1, "CUBLAS_STATUS_NOT_INITIALIZED"),
    ("cublasLt", "cublaslt", ["libcublasLt.so.13"], 1, "CUBLAS_STATUS_NOT_INITIALIZED"),
    ("cudnn", "cudnn", ["libcudnn.so.9"], 1001, "CUDNN_STATUS_NOT_INITIALIZED"),
    ("nccl", "nccl", ["libnccl.so.2"], 2, "ncclSystemError"),
]

# Functions that hand a text back by pointer; without the driver they have to say that it is the driver that is missing.
TEXT_BY_POINTER = {"cuGetErrorString", "cuGetErrorName"}

DECLARATION = re.compile(r'extern "C" \{\s*(?:pub )?fn (\w+)\(([^;]*)\)\s*(?:->\s*([^;]+?))?\s*;\s*\}')

SOURCE = """\
#include <dlfcn.h>
#include <stddef.h>

#define UNUSED __attribute__((unused))

static const char *const files[] = {{{files}}};
static const char missing_text[] = "{first} is not installed";

UNUSED static int missing(void) {{ return {status}; }}
UNUSED static const char *missing_pointer(void) {{ return missing_text; }}
UNUSED static int missing_by_pointer(int error, const char **text) {{ (void)error; *text = missing_text; return 0; }}

static const struct {{ const char *name; void *otherwise; }} functions[] = {{
{functions}
}};

__attribute__((used, visibility("hidden"))) void *unbraid_{library}_table[{count}];

__attribute__((constructor)) static void load(void) {{
    void *handle = NULL;
    for (size_t i = 0; handle == NULL && i < sizeof files / sizeof *files; i++)
        handle = dlopen(files[i], RTLD_LAZY | RTLD_LOCAL);
    for (size_t i = 0; i < {count}; i++) {{
        void *function = handle ? dlsym(handle, functions[i].name) : NULL;
        unbraid_{library}_table[i] = function ? function : functions[i].otherwise;
    }}
}}

#if defined(__x86_64__)
#define JUMP(place, name) \\
    __asm__(".text\\n.globl " #name "\\n.type " #name ",@function\\n" #name ":\\n" \\
            "jmp *unbraid_{library}_table+" #place "(%rip)\\n.size " #name ",.-" #name "\\n");
#elif defined(__aarch64__)
#define JUMP(place, name) \\
    __asm__(".text\\n.globl " #name "\\n.type " #name ",%function\\n" #name ":\\n" \\
            "adrp x16, unbraid_{library}_table+" #place "\\n" \\
            "ldr x16, [x16, :lo12:unbraid_{library}_table+" #place "]\\n" \\
            "br x16\\n.size " #name ",.-" #name "\\n");
#else
#error "x86-64 or AArch64"
#endif
{jumps}
"""


def functions_of(module: Path) -> dict[str, str]:
    """Each declared function with what stands for it where the library is missing."""
    functions = {}
    for name, _, result in DECLARATION.findall(module.read_text()):
        if name in TEXT_BY_POINTER:
            functions[name] = "missing_by_pointer"
        elif result and "c_char" in result and "*" in result:
            functions[name] = "missing_pointer"
        else:
            functions[name] = "missing"
    return functions


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    cudarc, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    for library, module, files, status, status_name in LIBRARIES:
        text = cudarc / "src" / module / "sys" / "mod.rs"
        functions = functions_of(text)
        if not functions:
            sys.exit(f"{text}: no functions found, expected cudarc's declarations")
        # The status goes to Rust as an enum, which has to have it.
        if not re.search(rf"\b{status_name} = {status},", text.read_text()):
            sys.exit(f"{text}: {status_name} is not {status}, as this script expects")
        source = SOURCE.format(
            library=library,
            files=", ".join(f'"{file}"' for file in files),
            first=files[0],
            status=status,
            count=len(functions),
            functions="\n".join(f'    {{"{name}", {otherwise}}},' for name, otherwise in functions.items()),
            jumps="\n".join(f"JUMP({8 * i}, {name})" for i, name in enumerate(functions)),
        )
        c, o, a = (out / f"{library}_loader.c", out / f"{library}_loader.o", out / f"lib{library}.a")
        c.write_text(source)
        subprocess.run([os.environ.get("CC", "cc"), "-O1", "-fPIC", "-Wall", "-c", c, "-o", o], check=True)
        a.unlink(missing_ok=True)
        subprocess.run([os.environ.get("AR", "ar"), "rcs", a, o], check=True)
        o.unlink()
        print(f"{a}: {len(functions)} functions")


if __name__ == "__main__":
    main()
