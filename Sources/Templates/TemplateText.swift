/// Text that knows which of its parts somebody said, and which are the template's own.
///
/// Every operation of a template on text keeps this apart, so that a reader of the result can tell a control token that
/// the template wrote from the same letters in a message. Equality is that of the text alone.
package struct TemplateText: Sendable {
  /// UTF-8.
  package private(set) var bytes: [UInt8] = []
  /// Where somebody's words stand in ``bytes``: in order, not empty, not touching.
  package private(set) var contents: [Range<Int>] = []

  package init() {}

  package init(_ text: String, isContent: Bool = false) { self.init(bytes: Array(text.utf8), isContent: isContent) }

  /// - Parameter bytes: valid UTF-8.
  init(bytes: [UInt8], isContent: Bool) {
    self.bytes = bytes
    if isContent, !bytes.isEmpty { contents = [bytes.indices] }
  }

  package var string: String { String(decoding: bytes, as: UTF8.self) }
  var isEmpty: Bool { bytes.isEmpty }
  var count: Int { bytes.count }
  var hasContent: Bool { !contents.isEmpty }
  var scalarCount: Int { bytes.reduce(0) { $1 & 0xC0 == 0x80 ? $0 : $0 + 1 } }

  mutating func append(_ other: TemplateText) {
    let start = bytes.count
    bytes += other.bytes
    for range in other.contents { mark(range.lowerBound + start..<range.upperBound + start) }
  }

  private mutating func append(_ text: String, isContent: Bool) {
    let start = bytes.count
    bytes += text.utf8
    if isContent, start < bytes.count { mark(start..<bytes.count) }
  }

  private mutating func mark(_ range: Range<Int>) {
    if let last = contents.last, last.upperBound == range.lowerBound {
      contents[contents.count - 1] = last.lowerBound..<range.upperBound
    } else {
      contents.append(range)
    }
  }

  /// A part, given in bytes.
  func slice(_ range: Range<Int>) -> TemplateText {
    var part = TemplateText()
    part.bytes = Array(bytes[range])
    // The first content that ends behind the start.
    var (low, high) = (0, contents.count)
    while low < high {
      let middle = (low + high) / 2
      if contents[middle].upperBound <= range.lowerBound { low = middle + 1 } else { high = middle }
    }
    while low < contents.count, contents[low].lowerBound < range.upperBound {
      let both = contents[low].clamped(to: range)
      part.contents.append(both.lowerBound - range.lowerBound..<both.upperBound - range.lowerBound)
      low += 1
    }
    return part
  }

  /// Where each scalar starts, and the end.
  var scalarStarts: [Int] { bytes.indices.filter { bytes[$0] & 0xC0 != 0x80 } + [bytes.count] }

  /// Each scalar replaced by a text, which is somebody's where the scalar was.
  func mapped(_ transform: (_ scalars: [Unicode.Scalar], _ index: Int) -> String) -> TemplateText {
    let scalars = Array(string.unicodeScalars)
    var result = TemplateText()
    var (offset, next) = (0, 0)
    for index in scalars.indices {
      while next < contents.count, contents[next].upperBound <= offset { next += 1 }
      let isContent = next < contents.count && contents[next].contains(offset)
      result.append(transform(scalars, index), isContent: isContent)
      offset += scalars[index].utf8.count
    }
    return result
  }

  /// Where a text first stands at or after an offset, in time proportional to both.
  func firstRange(of pattern: [UInt8], from start: Int = 0) -> Range<Int>? {
    guard !pattern.isEmpty else { return start..<start }
    guard pattern.count <= count - start else { return nil }
    // Knuth, Morris and Pratt: how much of the pattern's start is also the end of its first `i` bytes.
    var borders = [0, 0]
    var border = 0
    for index in pattern.indices.dropFirst() {
      while border > 0, pattern[index] != pattern[border] { border = borders[border] }
      if pattern[index] == pattern[border] { border += 1 }
      borders.append(border)
    }
    var matched = 0
    for offset in bytes.indices.dropFirst(start) {
      while matched > 0, bytes[offset] != pattern[matched] { matched = borders[matched] }
      if bytes[offset] == pattern[matched] { matched += 1 }
      if matched == pattern.count { return offset + 1 - matched..<offset + 1 }
    }
    return nil
  }

  /// So many copies, end to end.
  func repeated(_ times: Int) -> TemplateText {
    guard times > 0, !isEmpty else { return TemplateText() }
    var result = self
    let end = count * times
    while result.count <= end / 2 { result.append(result) }
    result.append(result.slice(0..<end - result.count))
    return result
  }

  /// How often a text that is not empty stands here, at most so often.
  func occurrences(of pattern: TemplateText, limit: Int = .max) -> Int {
    var (found, start) = (0, 0)
    while found < limit, let range = firstRange(of: pattern.bytes, from: start) {
      (found, start) = (found + 1, range.upperBound)
    }
    return found
  }

  /// The parts between the places where a separator stands, at most so many cuts.
  func split(by separator: TemplateText, limit: Int = .max) -> [TemplateText] {
    var parts: [TemplateText] = []
    var start = 0
    while parts.count < limit, let found = firstRange(of: separator.bytes, from: start) {
      parts.append(slice(start..<found.lowerBound))
      start = found.upperBound
    }
    return parts + [slice(start..<count)]
  }

  /// Without what stands in a set of scalars at its ends.
  func trimmed(leading: Bool = true, trailing: Bool = true, _ isTrimmed: (UInt32) -> Bool) -> TemplateText {
    var (start, end) = (0, count)
    while leading, start < end, case let next = bytes.scalar(at: start), isTrimmed(next.value) { start += next.count }
    while trailing, start < end, case let before = bytes.scalarStart(before: end),
      isTrimmed(bytes.scalar(at: before).value)
    { end = before }
    return slice(start..<end)
  }

  /// The words between white space.
  func words(limit: Int = .max) -> [TemplateText] {
    var parts: [TemplateText] = []
    var offset = 0
    func skip(while isSpace: Bool) {
      while offset < count, case let next = bytes.scalar(at: offset), Self.isSpace(next.value) == isSpace {
        offset += next.count
      }
    }
    skip(while: true)
    while offset < count {
      let start = offset
      if parts.count == limit {
        parts.append(slice(start..<count).trimmed(leading: false, Self.isSpace))
        break
      }
      skip(while: false)
      parts.append(slice(start..<offset))
      skip(while: true)
    }
    return parts
  }

  /// What Python calls white space.
  static func isSpace(_ value: UInt32) -> Bool {
    switch value {
    case 0x09...0x0D, 0x1C...0x20, 0x85, 0xA0, 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000: true
    default: false
    }
  }
}

extension TemplateText: Hashable {
  package static func == (a: TemplateText, b: TemplateText) -> Bool { a.bytes == b.bytes }
  package func hash(into hasher: inout Hasher) { hasher.combine(bytes) }
}

extension [UInt8] {
  /// The scalar that starts at an offset of valid UTF-8, and its length.
  func scalar(at offset: Int) -> (value: UInt32, count: Int) {
    let first = UInt32(self[offset])
    let count = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4
    guard count > 1 else { return (first, 1) }
    let start = first & (0x7F >> UInt32(count))
    return (self[offset + 1..<offset + count].reduce(start) { $0 << 6 | UInt32($1 & 0x3F) }, count)
  }

  /// Where the scalar starts that ends at an offset.
  func scalarStart(before offset: Int) -> Int {
    var start = offset - 1
    while self[start] & 0xC0 == 0x80 { start -= 1 }
    return start
  }
}
