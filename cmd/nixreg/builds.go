package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
)

// buildBounds is how much a build may take.
type buildBounds struct {
	timeout time.Duration
	memory  int64 // bytes of the evaluator's heap
}

// buildSource is what is built from, for people; "" if nothing is.
func (c *config) buildSource() string {
	if c.buildFile != "" {
		return c.buildFile
	}
	return shown(c.build)
}

// checkBuilds reads the bounds of builds.
func (c *config) checkBuilds() error {
	if c.build != "" && c.buildFile != "" {
		return errors.New("build and build-file: give one of them")
	}
	var err error
	if c.builds.timeout, err = atLeast("build-timeout", c.buildTimeout, time.Second); err != nil {
		return err
	}
	if c.buildJobs < 1 || c.buildJobs > 1000 {
		return fmt.Errorf("build-jobs %d: want a number from 1 to 1000", c.buildJobs)
	}
	memory, err := humanize.ParseBytes(c.buildMemory)
	if err != nil || memory < 1<<20 || memory > 1<<50 {
		return fmt.Errorf("build-memory %.100q: want a size, such as 500MB or 4GB", c.buildMemory)
	}
	c.builds.memory = int64(memory)
	return nil
}

// atLeast reads a duration.
func atLeast(name, text string, least time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < least {
		return 0, fmt.Errorf("%s %.100q: want a duration, such as 30m or 12h, of %s at least", name, text, least)
	}
	return d, nil
}
