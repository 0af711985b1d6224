package server

import (
	"os"

	"golang.org/x/sys/unix"
)

// dropCached makes the kernel read the file from the disk again, since a flipped bit on the disk does not show in the page
// cache. If that fails, the cached bytes are read.
func dropCached(f *os.File) {
	_ = f.Sync() // dirty pages cannot be dropped
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}
