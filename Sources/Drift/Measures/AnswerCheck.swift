package import Patterns

/// How a generated text is held against the expected answer.
package enum AnswerMatch: String, Sendable, CaseIterable {
  /// The same text, without white space at its ends.
  case exact
  /// The answer, without white space at its ends, occurs in the text.
  case contains
  /// The last number in the text has the value of the last number in the answer.
  case numeric
  /// The answer is a regular expression that matches somewhere in the text.
  case regex
}

/// An expected answer against which nothing can be held.
package enum AnswerError: Error, Sendable, Equatable {
  case invalidPattern(line: Int, RegexError)
  case noNumber(line: Int)
  /// It would be found in every text.
  case empty(line: Int)
}

/// An expected answer, ready to be looked for.
package struct AnswerCheck {
  private enum Expected {
    case text(String)
    case part(String)
    case number(Double)
    case pattern(SearchPattern)
  }
  private let expected: Expected

  /// - Parameter line: of the answer in its file, from 1; named in errors.
  /// - Throws: ``AnswerError``.
  package init(_ match: AnswerMatch, answer: String, line: Int) throws(AnswerError) {
    switch match {
    case .exact: expected = .text(answer.trimmed)
    case .contains:
      guard !answer.trimmed.isEmpty else { throw .empty(line: line) }
      expected = .part(answer.trimmed)
    case .numeric:
      guard let number = answer.lastNumber else { throw .noNumber(line: line) }
      expected = .number(number)
    case .regex:
      guard !answer.isEmpty else { throw .empty(line: line) }
      do throws(RegexError) { expected = .pattern(try SearchPattern(answer)) } catch {
        throw .invalidPattern(line: line, error)
      }
    }
  }

  package func accepts(_ text: String) -> Bool {
    switch expected {
    case .text(let answer): text.trimmed == answer
    case .part(let answer): text.contains(answer)
    case .number(let answer): text.lastNumber == answer
    case .pattern(let pattern): pattern.occurs(in: text)
    }
  }
}

extension String {
  fileprivate var trimmed: String {
    var rest = drop(while: \.isWhitespace)
    while rest.last?.isWhitespace == true { rest.removeLast() }
    return String(rest)
  }

  /// The value of the last number written in digits: a sign, thousands with or without commas, a fraction. A point behind it
  /// is the sentence's, and a hyphen behind a letter or digit is no sign.
  fileprivate var lastNumber: Double? {
    guard let found = lastMatch(of: Self.number) else { return nil }
    var digits = self[found].filter { $0 != "," }
    var sign = 1.0
    if let first = digits.first, "-−+".contains(first) {
      let before = self[..<found.lowerBound].last
      if first != "+", !(before.map { $0.isLetter || $0.isNumber } ?? false) { sign = -1 }
      digits.removeFirst()
    }
    return Double(digits).map { sign * $0 }
  }

  private static let number = try? SplitRegex(#"[-−+]?(?:[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?|\.[0-9]+)"#)

  /// The last of the matches, one after another.
  private func lastMatch(of regex: SplitRegex?) -> Range<Index>? {
    let text = Array(utf8)
    guard var matcher = regex.map({ RegexMatcher($0, byteCount: text.count) }) else { return nil }
    var (last, offset) = (Range<Int>?.none, 0)
    while offset < text.count {
      if let end = matcher.match(text, offset..<text.count) {
        last = offset..<end
        offset = end
      } else {
        offset += text.scalar(at: offset).count
      }
    }
    return last.map {
      utf8.index(startIndex, offsetBy: $0.lowerBound)..<utf8.index(startIndex, offsetBy: $0.upperBound)
    }
  }
}
