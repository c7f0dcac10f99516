import Decoding
import Tokenizers

/// Texts that end an answer, which then is what stands before the first of them.
struct StopStrings: Sendable {
  /// In UTF-8, each with one byte at least.
  private let strings: [[UInt8]]
  private let tokenizer: Tokenizer

  /// - Precondition: none is empty.
  init(_ strings: [String], _ tokenizer: Tokenizer) {
    self.strings = strings.map { Array($0.utf8) }
    self.tokenizer = tokenizer
    precondition(self.strings.allSatisfy { !$0.isEmpty })
  }

  var isEmpty: Bool { strings.isEmpty }

  /// Bytes at the end of a text that may be the beginning of a stop string, at most.
  var longestBeginning: Int { (strings.map(\.count).max() ?? 1) - 1 }

  /// For ``BlockDiffusion/endsAnswer``; nil where there is nothing to look for.
  var endsAnswer: (@Sendable ([Int]) -> Bool)? {
    if isEmpty { return nil }
    return { tokens in first(in: tokenizer.text(of: tokens)) != nil }
  }

  /// An answer as the stop strings leave it.
  ///
  /// - Parameters:
  ///   - tokens: up to a stop token or the length asked for.
  ///   - end: what ended them.
  func cut(_ tokens: [Int], _ end: Answer.End) -> (tokens: [Int], text: [UInt8], end: Answer.End) {
    let text = tokenizer.text(of: tokens)
    guard let found = first(in: text) else { return (tokens, text, end) }
    // Tokens up to the one that completes the stop string.
    var (count, byteCount) = (0, 0)
    while byteCount < found.upperBound {
      byteCount += tokenizer.text(of: [tokens[count]]).count
      count += 1
    }
    return (Array(tokens[..<count]), Array(text[..<found.lowerBound]), end == .interrupted ? end : .stopString)
  }

  /// Where the first stop string stands; of those at one place, the shortest.
  private func first(in text: [UInt8]) -> Range<Int>? {
    text.indices.lazy.compactMap { start in
      strings.filter { text[start...].starts(with: $0) }.map(\.count).min().map { start..<start + $0 }
    }.first
  }
}

extension Tokenizer {
  /// Bytes of text that tokens stand for; special tokens are none. A row of the vocabulary without a token is U+FFFD.
  func text(of tokens: some Sequence<Int>) -> [UInt8] {
    tokens.flatMap { (try? bytes(of: [$0], skippingSpecial: true)) ?? [0xEF, 0xBF, 0xBD] }
  }
}
