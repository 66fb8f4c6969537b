//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import WebSocketCore

/// What has gone over a connection.
package struct ConnectionTraffic: Sendable, Hashable {
    /// Messages that came whole, and their bytes as they were read.
    package var messagesReceived = 0
    package var bytesReceived = 0
    /// Messages and bytes that the operating system took.
    package var messagesSent = 0
    package var bytesSent = 0
    package var pressure = ConnectionPressure()

    package init() {}
}

extension Connection {
    /// On the loop, also when the connection has ended.
    package var traffic: ConnectionTraffic {
        var traffic = ConnectionTraffic()
        traffic.messagesReceived = inbound.messagesArrived
        traffic.bytesReceived = inbound.bytesArrived
        traffic.messagesSent = outbound.messagesWritten
        traffic.bytesSent = outbound.bytesWritten
        traffic.pressure = outbound.pressure
        return traffic
    }
}
