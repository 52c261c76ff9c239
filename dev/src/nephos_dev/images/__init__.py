"""Guest images of the local cloud, built from Debian's packages, without loop devices or mounts."""

from nephos_dev.images.debian12 import build_debian_12
from nephos_dev.images.store import BuiltImage, default_cache_dir
from nephos_dev.images.tiny import build_tiny
from nephos_dev.images.tools import ImageBuildError

__all__ = ["BuiltImage", "ImageBuildError", "build_debian_12", "build_tiny", "default_cache_dir"]
