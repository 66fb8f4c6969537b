//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

@Suite struct WebSocketCloseCodeTests {
    @Test func everyCode() throws {
        let registered: Set<UInt16> = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014]
        for value in UInt16.min...UInt16.max {
            let code = WebSocketCloseCode(rawValue: value)
            let allowed = registered.contains(value) || (value >= 3000 && value < 5000)
            try check(code.isAllowedOnTheWire == allowed, "\(value)")
            try check(code.isNormal == [1000, 1001, 1005].contains(value), "\(value)")
            let named = allowed || value == 1005 || value == 1006
            try check(named != code.description.hasSuffix("(invalid)"), "\(value)")
            try check(code.description.hasPrefix("\(value) ("), "\(value)")
        }
    }

    @Test(arguments: [
        (WebSocketCloseCode.normalClosure, 1000, "1000 (normal closure)"), (.goingAway, 1001, "1001 (going away)"),
        (.protocolError, 1002, "1002 (protocol error)"), (.unsupportedData, 1003, "1003 (unsupported data)"),
        (.noStatusReceived, 1005, "1005 (no status received)"), (.abnormalClosure, 1006, "1006 (abnormal closure)"),
        (.invalidPayloadData, 1007, "1007 (invalid payload data)"), (.policyViolation, 1008, "1008 (policy violation)"),
        (.messageTooBig, 1009, "1009 (message too big)"), (.mandatoryExtension, 1010, "1010 (mandatory extension)"),
        (.internalError, 1011, "1011 (internal error)"), (.serviceRestart, 1012, "1012 (service restart)"),
        (.tryAgainLater, 1013, "1013 (try again later)"), (.badGateway, 1014, "1014 (bad gateway)"),
        (.init(rawValue: 3000), 3000, "3000 (registered)"), (.init(rawValue: 3999), 3999, "3999 (registered)"),
        (.init(rawValue: 4000), 4000, "4000 (private use)"), (.init(rawValue: 4999), 4999, "4999 (private use)"),
        (.init(rawValue: 5000), 5000, "5000 (invalid)"), (.init(rawValue: 0), 0, "0 (invalid)"),
    ])
    func names(_ code: WebSocketCloseCode, _ value: UInt16, _ text: String) {
        #expect(code.rawValue == value)
        #expect(code.description == text)
    }
}
