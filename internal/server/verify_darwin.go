package server

import "os"

// dropCached does nothing: macOS cannot drop a single file from the page cache.
func dropCached(*os.File) {}
