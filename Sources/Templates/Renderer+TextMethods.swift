// Methods of text, and the filters that do the same.

extension Renderer {
  /// Text that an argument must be.
  func text(_ value: TemplateValue?, of function: String) throws(TemplateError) -> TemplateText {
    guard case .text(let text)? = value else {
      throw error(.failed, "`\(function)` needs text, not \(value?.kind ?? "nothing")")
    }
    return text
  }

  func wholeArgument(_ value: TemplateValue?, of function: String) throws(TemplateError) -> Int? {
    guard let value else { return nil }
    guard let whole = try whole(value) else {
      throw error(.failed, "`\(function)` needs a whole number, not \(value.kind)")
    }
    return whole
  }

  func callMethod(
    _ name: String, of text: TemplateText, _ arguments: CallArguments
  ) throws(TemplateError) -> TemplateValue? {
    try look(at: 8 * text.count)
    func bound(_ names: String..., required: Int = 0, byName: Bool = false) throws(TemplateError) -> [TemplateValue?] {
      try bind(arguments, to: names, required: required, byName: byName, of: name)
    }
    switch name {
    case "strip", "lstrip", "rstrip":
      let characters = try bound("chars")[0]
      return .text(
        try trimmed(text, characters, leading: name != "rstrip", trailing: name != "lstrip", of: name))
    case "startswith", "endswith":
      let parts: [TemplateValue]
      switch try bound("affix", required: 1)[0] {
      case .sequence(let sequence)? where sequence.kind == .tuple: parts = sequence.values
      case let part: parts = [part ?? .none]
      }
      for part in parts {
        let part = try self.text(part, of: name).bytes
        if name == "startswith" ? text.bytes.starts(with: part) : text.bytes.suffix(part.count).elementsEqual(part) {
          return .bool(true)
        }
      }
      return .bool(false)
    case "removeprefix", "removesuffix":
      let part = try self.text(try bound("affix", required: 1)[0], of: name).bytes
      try make(text.count)
      if name == "removeprefix" {
        return .text(text.bytes.starts(with: part) ? text.slice(part.count..<text.count) : text)
      }
      let isThere = text.bytes.suffix(part.count).elementsEqual(part)
      return .text(isThere ? text.slice(0..<text.count - part.count) : text)
    case "split": return try split(text, try bound("sep", "maxsplit", byName: true))
    case "replace":
      let given = try bound("old", "new", "count", required: 2)
      let (old, new) = (try self.text(given[0], of: name), try self.text(given[1], of: name))
      return .text(try replaced(text, old, new, try wholeArgument(given[2], of: name)))
    case "upper", "lower", "capitalize":
      _ = try bound()
      return .text(try cased(text, name))
    case "find", "count":
      let part = try self.text(try bound("sub", required: 1)[0], of: name)
      try prepare(toFind: part)
      if name == "find" {
        guard let found = text.firstRange(of: part.bytes) else { return .int(-1) }
        return .int(text.slice(0..<found.lowerBound).scalarCount)
      }
      if part.isEmpty { return .int(text.scalarCount + 1) }
      return .int(text.occurrences(of: part))
    case "join":
      return .text(
        try joined(try elements(of: try bound("iterable", required: 1)[0] ?? .none), by: text) {
          value throws(TemplateError) in try self.text(value, of: name)
        })
    default: return nil
    }
  }

  func trimmed(
    _ text: TemplateText, _ characters: TemplateValue?, leading: Bool = true, trailing: Bool = true, of name: String
  ) throws(TemplateError) -> TemplateText {
    try make(text.count)
    switch characters {
    case nil, .some(.none): return text.trimmed(leading: leading, trailing: trailing, TemplateText.isSpace)
    case let characters:
      let scalars = Set(try self.text(characters, of: name).string.unicodeScalars.map(\.value))
      return text.trimmed(leading: leading, trailing: trailing) { scalars.contains($0) }
    }
  }

  private func split(_ text: TemplateText, _ given: [TemplateValue?]) throws(TemplateError) -> TemplateValue {
    let most = try wholeArgument(given[1], of: "split").flatMap { $0 < 0 ? nil : $0 } ?? .max
    switch given[0] {
    case nil, .some(.none):
      try make(64 * text.count)
      return try list(text.words(limit: most).map { .text($0) })
    case let separator:
      let separator = try self.text(separator, of: "split")
      guard !separator.isEmpty else { throw error(.failed, "`split` cannot cut at empty text") }
      return try list(try parts(of: text, by: separator, limit: most).map { .text($0) })
    }
  }

  /// Counts what a search has to keep of what it looks for.
  func prepare(toFind pattern: TemplateText) throws(TemplateError) { try make(8 * pattern.count) }

  private func parts(
    of text: TemplateText, by separator: TemplateText, limit: Int
  ) throws(TemplateError) -> [TemplateText] {
    try look(at: 8 * text.count)
    try prepare(toFind: separator)
    // No more are counted than could be made.
    let cuts = text.occurrences(of: separator, limit: min(limit, bytesLeft / 128 + 1))
    try make(text.count + 128 * (cuts + 1))
    return text.split(by: separator, limit: limit)
  }

  func replaced(
    _ text: TemplateText, _ old: TemplateText, _ new: TemplateText, _ most: Int?
  ) throws(TemplateError) -> TemplateText {
    guard !old.isEmpty else { throw error(.unsupported, "`replace` of empty text") }
    let limit = most.flatMap { $0 < 0 ? nil : $0 } ?? .max
    let parts = try parts(of: text, by: old, limit: limit).map { TemplateValue.text($0) }
    return try joined(parts, by: new) { value throws(TemplateError) in try self.text(value, of: "replace") }
  }

  func joined(
    _ values: [TemplateValue], by separator: TemplateText,
    _ part: (TemplateValue) throws(TemplateError) -> TemplateText
  ) throws(TemplateError) -> TemplateText {
    var result = TemplateText()
    for (index, value) in values.enumerated() {
      let part = try part(value)
      try look()
      try make(part.count + separator.count)
      if index > 0 { result.append(separator) }
      result.append(part)
    }
    return result
  }

  /// `upper`, `lower` or `capitalize`.
  func cased(_ text: TemplateText, _ name: String) throws(TemplateError) -> TemplateText {
    // As scalars, and up to three for one in another case.
    try make(16 * text.count)
    try look(at: 64 * text.count)
    return text.mapped { scalars, index in
      let properties = scalars[index].properties
      if name == "upper" { return properties.uppercaseMapping }
      if name == "capitalize", index == 0 { return properties.titlecaseMapping }
      // A sigma at the end of a word.
      if scalars[index] == "Σ", Self.endsWord(scalars, index) { return "ς" }
      return properties.lowercaseMapping
    }
  }

  private static func endsWord(_ scalars: [Unicode.Scalar], _ index: Int) -> Bool {
    let before = scalars[..<index].last { !$0.properties.isCaseIgnorable }
    let after = scalars[(index + 1)...].first { !$0.properties.isCaseIgnorable }
    return before?.properties.isCased == true && after?.properties.isCased != true
  }
}
