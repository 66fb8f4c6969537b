//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import HTTPTypes

/// `Retry-After` (RFC 9110 §10.2.3). A date is compared with the server's own `Date`, so that it does not matter how right
/// this side's clock is, and with that clock only where the server has none (RFC 9110 §6.6.1).
package enum RetryAfter {
    /// Whether the server asks for a delay, however long.
    package static func isAsked(_ headers: HTTPFields) -> Bool {
        // Any moment of these decades does for a date, which is then compared with it.
        delay(headers, now: 1_800_000_000) != nil
    }

    /// The delay that the server asks for; nil when it asks for none that can be understood.
    ///
    /// - Parameter now: This side's clock, in seconds since 1970; nil where there is none.
    package static func delay(_ headers: HTTPFields, now: Int64? = nil) -> Duration? {
        guard
            let value = headers[.retryAfter]?.split(whereSeparator: { $0 == " " || $0 == "\t" }).joined(separator: " ")
        else { return nil }
        if !value.isEmpty, value.utf8.allSatisfy({ (0x30...0x39).contains($0) }) {
            return .seconds(Int64(value) ?? Int64(Int32.max))
        }
        guard let date = headers[.date].flatMap({ seconds($0, now: now) }) ?? now else { return nil }
        return seconds(value, now: date).map { .seconds(max(0, $0 - date)) }
    }

    /// Seconds since 1970 of a date in one of the three forms of RFC 9110 §5.6.7, all of which a recipient must take:
    /// `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` and `Sun Nov  6 08:49:37 1994`. What day of the
    /// week it was is not checked.
    ///
    /// - Parameter now: Tells the century of a year with two digits, which is not more than 50 years ahead. Without it such
    ///   a date is not read.
    package static func seconds(_ text: String, now: Int64?) -> Int64? {
        let parts = text.split(separator: " ")
        guard let first = parts.first else { return nil }
        if first.last != "," {
            guard parts.count == 5 else { return nil }
            return seconds(year: number(parts[4], digits: 4...4), parts[1], parts[2], parts[3])
        }
        guard parts.last == "GMT" else { return nil }
        if parts.count == 6 { return seconds(year: number(parts[3], digits: 4...4), parts[2], parts[1], parts[4]) }
        let date = parts.count == 4 ? parts[1].split(separator: "-", omittingEmptySubsequences: false) : []
        guard date.count == 3, let short = number(date[2], digits: 2...2), let now else { return nil }
        let thisYear = year(of: now)
        var year = thisYear / 100 * 100 + short
        if year <= thisYear - 50 { year += 100 }
        if year > thisYear + 50 { year -= 100 }
        return seconds(year: year, date[1], date[0], parts[2])
    }

    private static let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

    private static func seconds(year: Int64?, _ month: Substring, _ day: Substring, _ time: Substring) -> Int64? {
        let time = time.split(separator: ":", omittingEmptySubsequences: false).map { number($0, digits: 2...2) }
        guard let year, (1970...9999).contains(year), let month = months.firstIndex(of: String(month)),
            let day = number(day, digits: 1...2), (1...31).contains(day), time.count == 3,
            let hour = time[0], let minute = time[1], let second = time[2], hour < 24, minute < 60, second <= 60
        else { return nil }
        return days(year: year, month: month, day: day) * 86_400 + hour * 3_600 + minute * 60 + second
    }

    private static func number(_ text: Substring, digits: ClosedRange<Int>) -> Int64? {
        guard digits.contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        return Int64(text)
    }

    /// Days since 1970 of the civil calendar, counted from March so that the leap day is the last of its year.
    private static func days(year: Int64, month: Int, day: Int64) -> Int64 {
        let y = month < 2 ? year - 1 : year
        let era = y / 400
        let yearOfEra = y - era * 400
        let dayOfYear = (153 * Int64((month + 10) % 12) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }

    private static func year(of seconds: Int64) -> Int64 {
        // Never too late by more than a year, whatever the leap days.
        var year = 1970 + max(0, seconds) / (366 * 86_400)
        while days(year: year + 1, month: 0, day: 1) * 86_400 <= seconds { year += 1 }
        return year
    }
}
