//go:build !linux

package lab

import "github.com/federator/federator/test/lab/network"

func smallDisk(string, int) (func() error, error) { return nil, network.ErrUnavailable }
