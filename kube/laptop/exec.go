package laptop

import (
	"context"
	"errors"
	"io"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
)

// container is the name of federator's container in its pods, program its path there.
const (
	container = "federator"
	program   = "/federator"
)

// exec runs a program in a pod, over WebSocket, or over SPDY where the API server or
// a proxy before it does not pass that.
func (c *Cluster) exec(ctx context.Context, pod string, argv []string, stdio Stdio) error {
	config := rest.CopyConfig(c.Config)
	config.Timeout = 0 // a stream lasts as long as it is used
	url := c.Core.CoreV1().RESTClient().Post().Resource("pods").Namespace(c.Namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: container, Command: argv, Stdin: stdio.In != nil, Stdout: stdio.Out != nil, Stderr: stdio.Err != nil,
		}, scheme.ParameterCodec).URL()
	spdy, err := remotecommand.NewSPDYExecutor(config, "POST", url)
	if err != nil {
		return err
	}
	websocket, err := remotecommand.NewWebSocketExecutor(config, "GET", url.String())
	if err != nil {
		return err
	}
	either, err := remotecommand.NewFallbackExecutor(websocket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return err
	}
	return either.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: stdio.In, Stdout: stdio.Out, Stderr: stdio.Err})
}

// with adds what a program complained of to how it ended.
func with(err error, complaint string) error {
	if complaint == "" {
		return err
	}
	return errors.New(complaint)
}

// maxPrinted bounds what is kept of what a program prints, in bytes.
const maxPrinted = 64 << 10

// Greet copies between a socket and standard input and output, after a line by which
// the other end of the tunnel knows that it has come through. It returns when either
// side has ended.
func Greet(in io.Reader, out io.Writer, socket io.ReadWriter) error {
	if _, err := io.WriteString(out, greeting); err != nil {
		return err
	}
	ended := make(chan error, 2)
	go func() { _, err := io.Copy(socket, in); ended <- err }()
	go func() { _, err := io.Copy(out, socket); ended <- err }()
	return <-ended
}
