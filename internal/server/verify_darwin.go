package server

import "os"

// dropCached does nothing: macOS drops no single file from memory.
func dropCached(*os.File) {}
