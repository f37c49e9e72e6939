"""Builds the wheel: the C library by Meson, the package and the default model
beside it. A PEP 517 backend of its own because the C sources lie above this
folder, where the usual backends do not look.

The wheel has libcrossrank and, on Linux, the libjansson that it is linked to;
it needs numpy and the C library of the system. `pip install
--config-settings=model=none` leaves the default model (45 MB) out.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
# An sdist has the C sources in a folder of its own.
SOURCE = HERE / "csrc" if (HERE / "csrc").is_dir() else HERE.parent.parent
C_SOURCES = ("meson.build", "meson_options.txt", "LICENSE", "NOTICE",
             "include", "src", "tools/build_id.sh")
OWN_SOURCES = ("backend.py", "pyproject.toml", "README.md", "crossrank",
               "licenses")
MODEL = "models/crossrank-minilm-l6"
ON_MAC = sys.platform == "darwin"
LIBRARY = "libcrossrank.dylib" if ON_MAC else "libcrossrank.so"

METADATA = """\
Metadata-Version: 2.1
Name: crossrank
Version: {version}
Summary: Exact, fast scores of BERT cross-encoders on CPUs
License: Apache-2.0
Keywords: reranking,cross-encoder,bert,search
Classifier: License :: OSI Approved :: Apache Software License
Classifier: Operating System :: POSIX :: Linux
Classifier: Operating System :: MacOS
Classifier: Programming Language :: C
Classifier: Programming Language :: Python :: 3
Classifier: Typing :: Typed
Requires-Python: >=3.9
Requires-Dist: numpy>=1.21
Provides-Extra: bulk
Requires-Dist: pyarrow>=18; extra == "bulk"
Provides-Extra: spark
Requires-Dist: pyarrow>=18; extra == "spark"
Requires-Dist: pyspark[sql]>=4.0; extra == "spark"
Provides-Extra: ray
Requires-Dist: pyarrow>=18; extra == "ray"
Requires-Dist: ray[data]>=2.50; extra == "ray"
Description-Content-Type: text/markdown

"""


# ---- What pip calls ---------------------------------------------------------


def get_requires_for_build_wheel(config_settings=None):
    wanted = {"meson": "meson>=1.0", "ninja": "ninja>=1.10"}
    return [package for tool, package in wanted.items()
            if not shutil.which(tool)]


def get_requires_for_build_sdist(config_settings=None):
    return []


def prepare_metadata_for_build_wheel(metadata_directory,
                                     config_settings=None):
    """Spares pip a first build that it would only read METADATA from."""
    for name, data in dist_info():
        path = pathlib.Path(metadata_directory) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return dist_info_folder()


def build_wheel(wheel_directory, config_settings=None,
                metadata_directory=None):
    settings = config_settings or {}
    with_model = settings.get("model", "default") != "none"
    name = f"crossrank-{version()}-py3-none-{platform_tag()}.whl"
    with tempfile.TemporaryDirectory() as folder:
        libraries = build_libraries(pathlib.Path(folder))
        with Wheel(pathlib.Path(wheel_directory) / name) as wheel:
            for path in sources_in(HERE / "crossrank"):
                wheel.add(path.relative_to(HERE).as_posix(),
                          path.read_bytes())
            for path in libraries:
                wheel.add(f"crossrank/{path.name}", path.read_bytes(), 0o755)
            for path in sorted((SOURCE / MODEL).iterdir()) * with_model:
                wheel.add(f"crossrank/{MODEL}/{path.name}", path.read_bytes())
            for path, data in dist_info():
                wheel.add(path, data)
            wheel.add_record(f"{dist_info_folder()}/RECORD")
    return name


def build_sdist(sdist_directory, config_settings=None):
    name = f"crossrank-{version()}"
    archive = f"{name}.tar.gz"
    with tarfile.open(pathlib.Path(sdist_directory) / archive, "w:gz",
                      format=tarfile.PAX_FORMAT) as tar:
        for part in OWN_SOURCES:
            tar.add(HERE / part, f"{name}/{part}", filter=plain)
        for part in (*C_SOURCES, MODEL):
            tar.add(SOURCE / part, f"{name}/csrc/{part}", filter=plain)
        info = tarfile.TarInfo(f"{name}/PKG-INFO")
        text = metadata().encode()
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    return archive


# ---- Parts ------------------------------------------------------------------


def version():
    text = (SOURCE / "meson.build").read_text()
    return re.search(r"^\s*version: '([^']+)'", text, re.M)[1]


def platform_tag():
    return re.sub(r"[-.]", "_", sysconfig.get_platform())


def metadata():
    return METADATA.format(version=version()) \
        + (HERE / "README.md").read_text()


def sources_in(folder):
    return sorted(path for path in folder.rglob("*")
                  if path.suffix == ".py" or path.name == "py.typed")


def plain(info):
    """Files of a checkout without its compiled ones and its owner."""
    name = pathlib.PurePath(info.name).name
    if name == "__pycache__" or name.endswith((".so", ".dylib", ".pyc")):
        return None
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


def run(*command, **options):
    print("+", *command, flush=True)
    try:
        subprocess.run(command, check=True, **options)
    except FileNotFoundError:
        sys.exit(f"{command[0]} is missing: pip installs it, unless "
                 "--no-build-isolation is given: pip install meson ninja")
    except subprocess.CalledProcessError as error:
        sys.exit(f"{command[0]} failed with exit status {error.returncode}, "
                 "its messages are above; a C compiler, pkg-config and "
                 "jansson are needed (Debian: gcc pkg-config libjansson-dev; "
                 "Fedora: gcc pkgconf jansson-devel; brew: pkgconf jansson)")


def build_libraries(folder):
    """Paths of libcrossrank and of what must go with it."""
    environment = dict(os.environ)
    if "CC" not in environment and shutil.which("clang"):
        environment["CC"] = "clang"  # gcc 12 spills the kernels' sums
    arguments = ["-Dprogram=false"]
    if not ON_MAC:
        arguments.append("-Dc_link_args=-Wl,-rpath,$ORIGIN")
    run("meson", "setup", str(folder), str(SOURCE), *arguments,
        env=environment)
    run("ninja", "-C", str(folder), env=environment)
    built = folder / "wheel"
    built.mkdir()
    shutil.copyfile((folder / LIBRARY).resolve(), built / LIBRARY)
    if not ON_MAC:
        for path in needed(built / LIBRARY, "libjansson"):
            shutil.copyfile(path, built / path.name)
    return sorted(built.iterdir())


def needed(library, beginning):
    """Where the loader finds what `library` needs of that name."""
    listed = subprocess.run(["ldd", str(library)], check=True,
                            stdout=subprocess.PIPE, text=True).stdout
    for line in listed.splitlines():
        name, arrow, place = line.strip().partition(" => ")
        if arrow and name.startswith(beginning):
            yield pathlib.Path(place.split(" (")[0])


def dist_info_folder():
    return f"crossrank-{version()}.dist-info"


def dist_info():
    """Name and bytes of each file about the wheel, but RECORD."""
    folder = dist_info_folder()
    for path in (SOURCE / "LICENSE", SOURCE / "NOTICE",
                 *sorted((HERE / "licenses").iterdir())):
        yield f"{folder}/licenses/{path.name}", path.read_bytes()
    yield f"{folder}/METADATA", metadata().encode()
    yield f"{folder}/WHEEL", (
        "Wheel-Version: 1.0\nGenerator: crossrank\nRoot-Is-Purelib: false\n"
        f"Tag: py3-none-{platform_tag()}\n").encode()


class Wheel:
    """A zip file that keeps the hashes of what is put into it."""

    def __init__(self, path):
        self.zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
        self.record = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.zip.close()

    def add(self, name, data, mode=0o644):
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
        self.record.append(
            f"{name},sha256={digest.decode().rstrip('=')},{len(data)}\n")
        self.write(name, data, mode)

    def add_record(self, name):
        text = "".join([*self.record, f"{name},,\n"])
        self.write(name, text.encode(), 0o644)

    def write(self, name, data, mode):
        info = zipfile.ZipInfo(name)  # of 1980: wheels of a source are equal
        info.external_attr = (0o100000 | mode) << 16
        # Weights of float16 do not get smaller.
        info.compress_type = zipfile.ZIP_STORED \
            if name.endswith(".safetensors") else zipfile.ZIP_DEFLATED
        self.zip.writestr(info, data)
