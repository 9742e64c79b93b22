// Command image builds the container image of federator: the static binary and
// nothing else, for several architectures, as the tar of an OCI image layout, without
// a container engine and without a registry. The same sources and the same Go give
// the same digest.
//
//	go run -C tools ./image -out ../bin/federator-image.tar
//
// Its SBOMs are in the layout, as artifacts that refer to the images, and beside it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	source := flags.String("source", "..", "the checkout")
	out := flags.String("out", "../bin/federator-image.tar", "the tar to write; SBOMs go beside it")
	name := flags.String("name", "federator.dev/federator:dev", "the name of the image")
	arches := flags.String("arch", "amd64,arm64", "the architectures, with commas")
	if err := flags.Parse(args); err != nil {
		return err
	}
	b := builder{source: *source, name: *name, arches: strings.Split(*arches, ","), created: time.Unix(0, 0).UTC()}
	if !strings.Contains(filepath.Base(*name), ":") {
		return fmt.Errorf("-name %q: expected a name with a tag, such as federator.dev/federator:dev", *name)
	}
	if err := os.MkdirAll(filepath.Dir(*out), 0o755); err != nil {
		return err
	}
	digest, err := b.write(ctx, *out)
	if err != nil {
		return err
	}
	fmt.Printf("%s@%s in %s\n", *name, digest, *out)
	return nil
}
