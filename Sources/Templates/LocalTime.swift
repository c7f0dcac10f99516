import Glibc

/// The time now, where this process believes to be.
package enum LocalTime {
  /// In a format of `strftime`.
  package static func text(_ format: String) -> String {
    var now = time(nil)
    var parts = unsafe tm()
    let local = unsafe localtime_r(&now, &parts)
    guard unsafe local != nil else { return "" }
    // An empty result cannot be told from a buffer that is too small, so there is always one more character.
    var buffer = [CChar](repeating: 0, count: 1024 + 16 * format.utf8.count)
    let count = unsafe strftime(&buffer, buffer.count, format + " ", &parts)
    return String(decoding: buffer[..<max(0, count - 1)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
