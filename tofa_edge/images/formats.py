"""The formats that are read: one list for the host and the device, and names for all others."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
from pathlib import Path

PLUGINS = {  # Pillow's module of each format that is read
    "JPEG": "JpegImagePlugin",
    "MPO": "MpoImagePlugin",
    "PNG": "PngImagePlugin",
    "GIF": "GifImagePlugin",
    "WEBP": "WebPImagePlugin",
    "BMP": "BmpImagePlugin",
    "TIFF": "TiffImagePlugin",
    "PPM": "PpmImagePlugin",
    "AVIF": "AvifImagePlugin",
}
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".jpe", ".jfif", ".mpo",
    ".avif", *HEIF_SUFFIXES, ".apng", ".dib", ".pbm", ".pgm", ".pnm", ".ppm",
)  # fmt: skip
OTHER_SUFFIXES = (  # of images that are not read
    ".ai", ".arw", ".cr2", ".cr3", ".dcm", ".dng", ".eps", ".exr", ".fits", ".hdr", ".ico", ".j2k",
    ".jp2", ".jxl", ".nef", ".npy", ".orf", ".pcx", ".pdf", ".psd", ".raf", ".raw", ".rw2", ".svg",
    ".tga", ".xcf",
)  # fmt: skip
READ = "JPEG, PNG, WebP, TIFF, GIF, BMP, PPM, AVIF or HEIC"
WITH_HEIF = "HEIC: pip install 'tofa-edge[heif]' reads it"
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
SIGNATURES = (  # what a file begins with, and what it is
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"P4\n", "PPM"),
    (b"P5\n", "PPM"),
    (b"P6\n", "PPM"),
    (b"II+\0", "BigTIFF"),
    (b"MM\0+", "BigTIFF"),
    (b"%!", "PostScript (EPS)"),
    (b"\xc5\xd0\xd3\xc6", "PostScript (EPS)"),
    (b"%PDF", "PDF"),
    (b"8BPS", "Photoshop (PSD)"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\1\0", "an icon (ICO)"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"gimp xcf", "GIMP (XCF)"),
    (b"v/1\x01", "OpenEXR"),
    (b"SIMPLE  =", "FITS"),
    (b"\x93NUMPY", "a numpy array (NPY)"),
    (b"version https://git-lfs", "a Git LFS pointer: git lfs pull fetches the file itself"),
    (b"<svg", "SVG"),
    (b"<!doctype html", "a web page (HTML)"),
    (b"<html", "a web page (HTML)"),
    (b"<?xml", "XML (SVG?)"),
)
HEAD = 512  # bytes that tell what a file is


@functools.cache
def formats() -> tuple[str, ...]:
    """Returns Pillow's names of the formats that are read here; no other plug-in is asked.

    AVIF is among them where Pillow has it, HEIF where pillow-heif is installed.
    """
    from PIL import Image

    for module in PLUGINS.values():
        try:
            importlib.import_module(f"PIL.{module}")
        except ImportError:  # an older Pillow
            continue
    _quieten_libtiff()
    found = tuple(name for name in PLUGINS if name in Image.OPEN)
    return (*found, "HEIF") if reads_heif() else found


def _quieten_libtiff() -> None:
    """Keeps libtiff from printing what it finds wrong: Pillow raises an error where it matters.

    Pillow has no option for it. The symbols are looked up in what Pillow's own module is linked to;
    where they are hidden, libtiff goes on printing.
    """
    from PIL import _imaging

    with contextlib.suppress(AttributeError, OSError):
        library = ctypes.CDLL(_imaging.__file__)
        for name in ("TIFFSetWarningHandler", "TIFFSetErrorHandler"):
            choose_handler = getattr(library, name)
            choose_handler.argtypes, choose_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            choose_handler(None)


@functools.cache
def reads_heif() -> bool:
    """Returns whether pillow-heif is installed; Pillow then knows its format."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def is_photo(path: Path) -> bool:
    """Returns whether the name of a `path` is that of an image that is read here."""
    suffix = path.suffix.lower()
    return suffix in SUFFIXES and (suffix not in HEIF_SUFFIXES or reads_heif())


def is_image(path: Path) -> bool:
    """Returns whether the name of a `path` is that of an image, read here or not."""
    return path.suffix.lower() in (*SUFFIXES, *OTHER_SUFFIXES)


def what_it_is(head: bytes) -> str:
    """Returns what a file that begins with `head`, some 512 bytes, is; "" where nobody knows."""
    if not head:
        return "empty"
    if head[4:8] == b"ftyp":
        return _of_brand(head[8:12], head[: int.from_bytes(head[:4], "big")])
    if head[:4] == b"RIFF":
        return "WebP" if head[8:12] == b"WEBP" else "a RIFF file"
    if not head.strip(b"\0"):
        return "nothing but zeros"
    low = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    for signature, name in SIGNATURES:
        text = signature.startswith(b"<")
        if (low.lower() if text else head).startswith(signature):
            return name
    return ""


def _of_brand(brand: bytes, first_box: bytes) -> str:
    """Returns what a file of ISO boxes is, by the brand it names first, or else by the others."""
    names_avif = brand in (b"mif1", b"msf1") and b"avif" in first_box[16:]
    if brand in (b"avif", b"avis") or names_avif:
        return "AVIF"
    if brand in HEIF_BRANDS:
        return "HEIC" if reads_heif() else WITH_HEIF
    return "Canon raw (CR3)" if brand == b"crx " else "a film (MP4, MOV)"
