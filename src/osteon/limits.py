"""How big a file or picture may be before Osteon decodes it."""

from dataclasses import dataclass

from osteon.errors import ImageTooLarge


@dataclass(frozen=True)
class Limits:
    """Sizes above which a file is refused, all checked before any pixel is decoded.

    Attributes:
        max_bytes: of the file, and of what a deflated DICOM file inflates to.
        max_pixels: rows times columns of one page or frame.
        max_side_px: rows or columns of one page or frame.
        max_pages: pages or frames of one file; a file with more is refused whole, not cut.
    """

    max_bytes: int = 256 * 2**20
    max_pixels: int = 100_000_000
    max_side_px: int = 32_768
    max_pages: int = 64

    def check_bytes(self, count: int) -> None:
        """Raises ImageTooLarge for more bytes than `max_bytes`."""
        if count > self.max_bytes:
            raise ImageTooLarge(
                f"{count / 2**20:.1f} MiB, at most {self.max_bytes / 2**20:.1f} MiB are read",
                hint="export the picture compressed or smaller, or raise the limit on bytes",
            )

    def check_size(self, height_px: int, width_px: int) -> None:
        """Raises ImageTooLarge for a page of more pixels or longer sides than allowed."""
        if max(height_px, width_px) > self.max_side_px or height_px * width_px > self.max_pixels:
            raise ImageTooLarge(
                f"{height_px}x{width_px} px, at most {self.max_pixels} px and {self.max_side_px} px a side are read",
                hint="scale the picture down, or raise the limit on pixels",
            )

    def check_pages(self, count: int) -> None:
        """Raises ImageTooLarge for more pages or frames than `max_pages`."""
        if count > self.max_pages:
            raise ImageTooLarge(
                f"more than {self.max_pages} pages or frames",
                hint="split the file, or raise the limit on pages",
            )
