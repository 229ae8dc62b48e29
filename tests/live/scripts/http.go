// Given: a role and where to find the peer. Gives: HTTP calls through Go's own client, or a server that logs what it served.
// Refuses to know: who watches.
//
//	http client PROTOCOL URL CERTIFICATE    many calls, when a line is read
//	http late URL CERTIFICATE               three calls; five more on the same connection when a line is read
//	http server CERTIFICATE KEY             until its input ends
//	http plain                              the same without TLS
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	arguments := os.Args[1:]
	switch arguments[0] {
	case "client":
		wait()
		calls(client(arguments[1], arguments[3]), arguments[2])
	case "late":
		late(client("http1", arguments[2]), arguments[1])
	case "server":
		serve(func(server *http.Server, listener net.Listener) error {
			return server.ServeTLS(listener, arguments[1], arguments[2])
		})
	case "plain":
		serve((*http.Server).Serve)
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

// For whoever is to be there before it goes on.
func wait() {
	fmt.Println("ready")
	must(bufio.NewReader(os.Stdin).ReadString('\n'))
}

func client(protocol string, certificate string) *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(must(os.ReadFile(certificate)))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 8}
	if protocol == "http2" {
		transport.ForceAttemptHTTP2 = true
	}
	return &http.Client{Transport: transport}
}

func call(client *http.Client, method string, url string, body io.Reader) {
	request := must(http.NewRequest(method, url, body))
	response := must(client.Do(request))
	must(io.Copy(io.Discard, response.Body))
	response.Body.Close()
}

func calls(client *http.Client, url string) {
	for number := range [10]struct{}{} {
		call(client, "GET", fmt.Sprintf("%s/v1/items/%d", url, number), nil)
	}
	call(client, "POST", url+"/echo/post", strings.NewReader(strings.Repeat("p", 9000)))
	// Of a reader of its own type nobody knows the length.
	call(client, "POST", url+"/echo/chunked", io.LimitReader(strings.NewReader(strings.Repeat("c", 20000)), 9706))
	call(client, "HEAD", url+"/v1/head", nil)
	call(client, "DELETE", url+"/empty/x", nil)
	call(client, "GET", url+"/missing", nil)
	call(client, "GET", url+"/page", nil)
	var all sync.WaitGroup
	for worker := range [4]struct{}{} {
		all.Add(1)
		go func(worker int) {
			defer all.Done()
			for number := range [25]struct{}{} {
				call(client, "GET", fmt.Sprintf("%s/v1/worker-%d/item-%02d", url, worker, number), nil)
			}
		}(worker)
	}
	all.Wait()
	client.CloseIdleConnections()
}

func late(client *http.Client, url string) {
	for number := range [8]struct{}{} {
		if number == 3 {
			wait()
		}
		call(client, "GET", fmt.Sprintf("%s/v1/late/item-%d", url, number), nil)
	}
	client.CloseIdleConnections()
}

type connection struct {
	number  uint64
	ordinal uint64
}

type key struct{}

type line struct {
	Connection        uint64  `json:"connection"`
	Ordinal           uint64  `json:"ordinal"`
	Started           float64 `json:"started"`
	Ended             float64 `json:"ended"`
	Method            string  `json:"method"`
	Target            string  `json:"target"`
	Protocol          string  `json:"protocol"`
	Status            int     `json:"status"`
	RequestBodyBytes  int64   `json:"request_body_bytes"`
	ResponseBodyBytes int     `json:"response_body_bytes"`
}

func now() float64 {
	return float64(time.Now().UnixMicro()) / 1e6
}

// A path of /sized/NUMBER is answered with so many bytes, all else with 404.
func serve(accept func(*http.Server, net.Listener) error) {
	var connections atomic.Uint64
	var log sync.Mutex
	handle := func(writer http.ResponseWriter, request *http.Request) {
		of := request.Context().Value(key{}).(*connection)
		told := line{Connection: of.number, Ordinal: atomic.AddUint64(&of.ordinal, 1), Started: now()}
		told.Method, told.Target, told.Status = request.Method, request.URL.RequestURI(), 200
		told.Protocol = strings.TrimSuffix(request.Proto, ".0")
		told.RequestBodyBytes = must(io.Copy(io.Discard, request.Body))
		size, err := strconv.Atoi(strings.TrimPrefix(request.URL.Path, "/sized/"))
		if err != nil {
			told.Status, size = 404, 0
		}
		writer.Header().Set("Content-Length", strconv.Itoa(size))
		writer.WriteHeader(told.Status)
		told.ResponseBodyBytes = must(writer.Write(make([]byte, size)))
		told.Ended = now()
		log.Lock()
		defer log.Unlock()
		fmt.Println(string(must(json.Marshal(told))))
	}
	server := &http.Server{
		Handler: http.HandlerFunc(handle),
		ConnContext: func(context_ context.Context, _ net.Conn) context.Context {
			return context.WithValue(context_, key{}, &connection{number: connections.Add(1)})
		},
	}
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	fmt.Printf("listening %d\n", listener.Addr().(*net.TCPAddr).Port)
	go accept(server, listener)
	io.Copy(io.Discard, os.Stdin)
	server.Shutdown(context.Background())
}
