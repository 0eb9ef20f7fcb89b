// A server with Go's ServeMux. It says which handler the router chose, and the path as a layer in front of it sees it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

func answer(handler string) http.Handler {
	return http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		writer.Header().Set("content-type", "application/json")
		json.NewEncoder(writer).Encode(map[string]string{"handler": handler, "seen": request.Context().Value(seen{}).(string)})
	})
}

// seen is the key of the path that stood in front of all routers.
type seen struct{}

func main() {
	inner := http.NewServeMux()
	inner.Handle("/", answer("mounted"))

	mux := http.NewServeMux()
	mux.Handle("/guarded", answer("guarded"))
	mux.Handle("/guarded/", answer("guarded"))
	mux.Handle("/one", answer("one"))
	mux.Handle("/deep/er/{name}", answer("deep"))
	mux.Handle("/mounted/", http.StripPrefix("/mounted", inner))
	mux.Handle("/grüße/{rest...}", answer("greetings"))
	mux.Handle("/with%20space/{rest...}", answer("space"))
	mux.Handle("/open/{rest...}", answer("open"))
	mux.Handle("/files/", http.StripPrefix("/files", http.FileServer(http.Dir(os.Args[1]))))
	mux.Handle("/", answer("other"))

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	http.Serve(listener, http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		path := context.WithValue(request.Context(), seen{}, request.URL.EscapedPath())
		mux.ServeHTTP(writer, request.WithContext(path))
	}))
}
