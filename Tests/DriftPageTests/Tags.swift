import TestSupport

/// Checks that a page's tags are closed in the order that they were opened, and its attributes quoted.
enum Tags {
  private static let empty: Set<String> = ["meta", "br", "!DOCTYPE"]
  /// Drawing elements are closed at once.
  private static let closed: Set<String> = ["line", "polyline"]

  static func check(_ page: String) throws {
    var open: [String] = []
    var ids: Set<String> = []
    var rest = Array(page.utf8)[...]
    while let start = rest.firstIndex(of: UInt8(ascii: "<")) {
      rest = rest[start...].dropFirst()
      let tag = try self.tag(&rest)
      let name = String(decoding: tag.prefix { $0 != UInt8(ascii: " ") }, as: UTF8.self)
      if name.hasPrefix("/") {
        guard open.popLast() == String(name.dropFirst()) else { throw TestFailure("<\(name)> closes what is not open") }
        continue
      }
      if let start = tag.firstRange(of: Array(" id=\"".utf8))?.upperBound {
        let id = String(decoding: tag[start...].prefix { $0 != UInt8(ascii: "\"") }, as: UTF8.self)
        guard ids.insert(id).inserted else { throw TestFailure("id \(id) twice") }
      }
      if empty.contains(name) || tag.last == UInt8(ascii: "/") { continue }
      guard !closed.contains(name) else { throw TestFailure("<\(name)> is left open") }
      open.append(name)
      // What is in these is not markup.
      if ["script", "style"].contains(name), let end = rest.firstRange(of: Array("</\(name)".utf8)) {
        rest = rest[end.lowerBound...]
      }
    }
    guard open.isEmpty else { throw TestFailure("never closed: \(open)") }
  }

  /// The inside of a tag, up to the `>` that is not in quotes.
  private static func tag(_ rest: inout ArraySlice<UInt8>) throws -> [UInt8] {
    var isQuoted = false
    var bytes: [UInt8] = []
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "\"") { isQuoted.toggle() }
      if byte == UInt8(ascii: ">"), !isQuoted { return bytes }
      if byte == UInt8(ascii: "<") { throw TestFailure("< inside <\(String(decoding: bytes, as: UTF8.self))") }
      bytes.append(byte)
    }
    throw TestFailure("a tag without an end")
  }
}
