package digests

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const childDir = "NIXREG_TEST_CHILD_DIR"

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		putUntilKilled(dir)
	}
	os.Exit(m.Run())
}

// putUntilKilled puts record after record, and prints the number of each once Put has returned.
func putUntilKilled(dir string) {
	b, err := OpenBadger(dir, nil)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for n := 0; ; n++ {
		k, v := record(n)
		if err := b.Put(context.Background(), k, v); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(n)
	}
}

func TestBadgerSurvivesKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	for round, acknowledged := range []int{1, 50, 4000} {
		last := killAfter(t, dir, acknowledged)
		b := mustOpen(t, dir)
		if n := count(t, b, last+1); n != last+1 {
			t.Errorf("round %d: %d of %d acknowledged records", round, n, last+1)
		}
		count(t, b, last+100) // those that nobody acknowledged may be there, and are right then
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	wantNoAside(t, dir)
}

// killAfter runs a child on dir, kills it after n acknowledgements and returns the last record it acknowledged.
func killAfter(t *testing.T, dir string, n int) (last int) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	last = -1
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, err := fmt.Sscan(lines.Text(), &last); err != nil {
			t.Errorf("child says %q", lines.Text())
		}
		if last+1 == n {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := child.Wait(); err == nil {
		t.Error("the child ended by itself")
	}
	if last+1 < n {
		t.Fatalf("only %d records were acknowledged", last+1)
	}
	return last
}
