// SPDX-License-Identifier: Apache-2.0

// Go's net/http with gorilla's websocket, as Debian has them, as a peer:
//
//	gorilla server [CERTIFICATE KEY]
//	gorilla client URL [CA]
//	gorilla health URL
//
// A server echoes messages on every path, chooses the subprotocol "chat", closes with 4001 "bye" when it gets the text
// "close", and answers GET /health with 200. It prints {"port": N} first and ends with its input. A client sends texts and
// bytes of many sizes, checks what comes back, closes with 4002 "enough", and prints a report; health asks with net/http alone.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/gorilla/websocket"
)

var sizes = []int{0, 1, 125, 126, 65535, 65536, 300000}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(identity []string) {
	upgrader := websocket.Upgrader{Subprotocols: []string{"chat"}, EnableCompression: true}
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			fmt.Fprint(w, "fine")
			return
		}
		connection, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer connection.Close()
		for {
			kind, message, err := connection.ReadMessage()
			if err != nil {
				return
			}
			if kind == websocket.TextMessage && string(message) == "close" {
				frame := websocket.FormatCloseMessage(4001, "bye")
				check(connection.WriteMessage(websocket.CloseMessage, frame))
			} else if connection.WriteMessage(kind, message) != nil {
				return
			}
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	fmt.Printf("{\"port\": %d}\n", listener.Addr().(*net.TCPAddr).Port)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	server := http.Server{Handler: http.HandlerFunc(handler)}
	if len(identity) == 2 {
		check(server.ServeTLS(listener, identity[0], identity[1]))
	} else {
		check(server.Serve(listener))
	}
}

func dial(url string, authority []string) {
	dialer := websocket.Dialer{Subprotocols: []string{"other", "chat"}, EnableCompression: true}
	if len(authority) == 1 {
		text, err := os.ReadFile(authority[0])
		check(err)
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(text)
		dialer.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	connection, response, err := dialer.Dial(url, nil)
	check(err)
	count := 0
	same := true
	for _, size := range sizes {
		text := []byte(strings.Repeat("é", size/2))
		binary := bytes.Repeat([]byte{byte(size)}, size)
		for kind, content := range map[int][]byte{websocket.TextMessage: text, websocket.BinaryMessage: binary} {
			check(connection.WriteMessage(kind, content))
			back, message, err := connection.ReadMessage()
			check(err)
			same = same && back == kind && bytes.Equal(message, content)
			count++
		}
	}
	check(connection.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(4002, "enough")))
	_, _, err = connection.ReadMessage()
	code := 0
	if closed, ok := err.(*websocket.CloseError); ok {
		code = closed.Code
	}
	report := map[string]any{
		"ok": same, "messages": count, "subprotocol": connection.Subprotocol(), "code": code,
		"extensions": response.Header.Get("Sec-WebSocket-Extensions"),
	}
	check(json.NewEncoder(os.Stdout).Encode(report))
}

func main() {
	switch os.Args[1] {
	case "server":
		serve(os.Args[2:])
	case "client":
		dial(os.Args[2], os.Args[3:])
	case "health":
		response, err := http.Get(os.Args[2])
		check(err)
		body, err := io.ReadAll(response.Body)
		check(err)
		check(json.NewEncoder(os.Stdout).Encode(map[string]any{"status": response.StatusCode, "body": string(body)}))
	}
}
