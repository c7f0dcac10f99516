package import JSON
import Pack
import Storage

/// Lines of JSON, each behind the hash of its bytes (`Formats/journal.md`): what was written whole can be told from what was not.
package enum HashedLines {
  private static let hashByteCount = 16
  private static let limits = JSONLimits(byteCount: 1 << 31, valueCount: 1 << 25)

  /// XXH3 in sixteen hexadecimal digits, a space, the document, a line feed.
  package static func line(_ document: JSONValue) -> [UInt8] {
    let text = Array(document.text(indented: false).utf8)
    return Array("\(XXH3.text(XXH3.hash(text.bytes))) ".utf8) + text + [UInt8(ascii: "\n")]
  }

  /// Reads lines up to the first that is not as it was written.
  ///
  /// - Returns: their documents, where each ends, and the bytes that all take.
  package static func read(_ bytes: RawSpan) -> (documents: [JSONValue], ends: [Int], byteCount: Int) {
    var documents: [JSONValue] = []
    var ends: [Int] = []
    var start = 0
    let all = bytes.array
    while let end = all[start...].firstIndex(of: UInt8(ascii: "\n")) {
      guard end - start > hashByteCount, all[start + hashByteCount] == UInt8(ascii: " "),
        let hash = XXH3.parse(String(decoding: all[start..<start + hashByteCount], as: UTF8.self))
      else { break }
      let text = bytes.extracting(start + hashByteCount + 1..<end)
      guard XXH3.hash(text) == hash, let document = try? JSONParser.parse(text, limits) else { break }
      documents.append(document)
      start = end + 1
      ends.append(start)
    }
    return (documents, ends, start)
  }
}
