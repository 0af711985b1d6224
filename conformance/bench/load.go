package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

const manifestType = "application/vnd.oci.image.manifest.v1+json"

type result struct {
	answers int
	rate    float64 // answers a second
	p99     time.Duration
	cpu     time.Duration // of the registry, for one answer
}

// load asks for one path over many connections at once, each with one request at a time.
func load(ctx context.Context, host, path string, connections int, duration time.Duration) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	var mu sync.Mutex
	var times []time.Duration
	var failed error
	var wg sync.WaitGroup
	begun := time.Now()
	for range connections {
		wg.Go(func() {
			own, err := askOn(ctx, host, path)
			mu.Lock()
			defer mu.Unlock()
			times = append(times, own...)
			if err != nil {
				failed = err
			}
		})
	}
	wg.Wait()
	took := time.Since(begun)
	if failed != nil || len(times) == 0 {
		return result{}, fmt.Errorf("no answers: %w", failed)
	}
	slices.Sort(times)
	return result{answers: len(times), rate: float64(len(times)) / took.Seconds(), p99: times[len(times)*99/100]}, nil
}

// askOn repeats the request on one connection until ctx ends, and returns how long each answer took.
func askOn(ctx context.Context, host, path string) (times []time.Duration, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\n\r\n", path, host, manifestType)
	in := bufio.NewReaderSize(conn, 64<<10)
	for ctx.Err() == nil {
		begun := time.Now()
		if _, err := conn.Write(request); err != nil {
			return nil, err
		}
		if err := readAnswer(in); err != nil {
			return nil, err
		}
		times = append(times, time.Since(begun))
	}
	return times, nil
}

// readAnswer reads one answer, which must be a success.
func readAnswer(in *bufio.Reader) error {
	var status, length int
	line, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if _, err := fmt.Sscanf(string(line), "HTTP/1.1 %d", &status); err != nil || status != http.StatusOK {
		return fmt.Errorf("answer %.100q", line)
	}
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= len("\r\n") {
			break
		}
		if n, ok := contentLength(line); ok {
			length = n
		}
	}
	_, err = in.Discard(length)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func contentLength(line []byte) (n int, ok bool) {
	const name = "content-length: "
	if len(line) <= len(name) || line[0]|0x20 != 'c' || line[8]|0x20 != 'l' || line[14] != ':' {
		return 0, false
	}
	for _, c := range line[len(name):] {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}
