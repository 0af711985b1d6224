package digests

import (
	"fmt"
	"syscall"
)

// spareSpace is how much must be free where badger writes, in bytes: more than all files it maps before it fills them.
// On a disk that is full, such a write ends the process, and no error tells of it.
const spareSpace = 128 << 20

// checkSpace gives an error matching syscall.ENOSPC if less than spare bytes are free for dir.
func checkSpace(dir string, spare int64) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return fmt.Errorf("free space of %s: %w", dir, err)
	}
	if free := int64(st.Bavail) * int64(st.Bsize); free < spare {
		return fmt.Errorf("%d MB are free for %s, %d are needed: %w", free>>20, dir, spare>>20, syscall.ENOSPC)
	}
	return nil
}
