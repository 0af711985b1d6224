// Minicri pulls images through the Kubernetes container runtime interface, as a kubelet does. It is a module of its
// own, so that gRPC and the interface's definitions stay out of nixreg's.
//
//	minicri SOCKET pull IMAGE    prints the image's ID, then the digests it is known by
//	minicri SOCKET remove IMAGE
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("usage: minicri SOCKET pull|remove IMAGE")
	}
	conn, err := grpc.NewClient(args[0], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	images, image := cri.NewImageServiceClient(conn), &cri.ImageSpec{Image: args[2]}
	switch args[1] {
	case "pull":
		return pull(ctx, images, image)
	case "remove":
		_, err := images.RemoveImage(ctx, &cri.RemoveImageRequest{Image: image})
		return err
	default:
		return fmt.Errorf("minicri: no command %q", args[1])
	}
}

func pull(ctx context.Context, images cri.ImageServiceClient, image *cri.ImageSpec) error {
	pulled, err := images.PullImage(ctx, &cri.PullImageRequest{Image: image})
	if err != nil {
		return err
	}
	fmt.Println(pulled.ImageRef)
	status, err := images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: image})
	if err != nil {
		return err
	}
	if status.Image == nil {
		return fmt.Errorf("minicri: %s was pulled and is not there", image.Image)
	}
	for _, digest := range status.Image.RepoDigests {
		fmt.Println(digest)
	}
	return nil
}
