import JSON
import Tokenizers

/// A tokenizer is refused at a place in its file, or every text becomes ids that it has, and comes back where nothing of it is
/// dropped or changed.
///
/// The file goes up to the first zero byte, the text follows. `*:0` among the tokens of the vocabulary stands for the 256
/// letters of bytes, with their bytes as ids, so that the fuzzer need not keep them all.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = unsafe Array(UnsafeBufferPointer(start: start, count: count))
  let parts = input.split(separator: 0, maxSplits: 1, omittingEmptySubsequences: false).map { Array($0) }
  let file = parts[0].replacing(Array("*:0".utf8), with: Array(letters.utf8), maxReplacements: 1)
  let tokenizer: Tokenizer
  do throws(TokenizerError) { tokenizer = try Tokenizer(tokenizerJSON: file) } catch {
    guard let place = error.place, (0...file.count).contains(place.byteOffset), !error.description.isEmpty else {
      fatalError("an error without a place: \(error)")
    }
    return 0
  }
  let text = String(decoding: parts.last ?? [], as: UTF8.self)
  for findsSpecial in [false, true] { check(tokenizer, text, findsSpecial, comesBack: changesNothing(tokenizer, file)) }
  return 0
}

/// Members of a JSON object: bytes as the letters that byte-level vocabularies write for them.
private let letters: String = {
  let plain = Set(Array(33...126) + Array(161...172) + Array(174...255))
  var next: UInt32 = 256
  return (0..<256).map { byte in
    var letter = UInt32(byte)
    if !plain.contains(byte) { (letter, next) = (next, next + 1) }
    let escape = letter == 0x22 || letter == 0x5C ? "\\" : ""
    return "\"\(escape)\(Unicode.Scalar(letter).map(String.init) ?? "")\":\(byte)"
  }.joined(separator: ",")
}()

/// Whether a text is what its tokens spell: no normalizer changes it, nothing is stripped, and no token is spelled otherwise.
private func changesNothing(_ tokenizer: Tokenizer, _ file: [UInt8]) -> Bool {
  let document = (try? JSONParser.parse(String(decoding: file, as: UTF8.self)))?.object
  return document?["normalizer"]?.isNull ?? true && document?["added_tokens"]?.array?.isEmpty ?? true
    && tokenizer.leastTokenCount(ofByteCount: .max) > 0
}

private func check(_ tokenizer: Tokenizer, _ text: String, _ findsSpecial: Bool, comesBack: Bool) {
  let ids: [Int]
  do throws(TokenizerError) { ids = try tokenizer.encode(text, findingSpecial: findsSpecial) } catch {
    guard case .slowPattern = error else { fatalError("refuses a text: \(error)") }
    return
  }
  guard tokenizer.leastTokenCount(ofByteCount: text.utf8.count) <= ids.count else {
    fatalError("fewer tokens than the least: \(ids)")
  }
  guard let bytes = try? tokenizer.bytes(of: ids) else { fatalError("ids that it does not have: \(ids)") }
  guard !comesBack || bytes == Array(text.utf8) else { fatalError("another text: \(bytes)") }
}
