// SPDX-License-Identifier: Apache-2.0

// The smallest program over the library. `scripts/check foundation` looks at what it links.
import WebSockets

print(WebSocketClient.self)
