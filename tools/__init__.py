"""Programs for the developers of this repository; no package contains them."""
