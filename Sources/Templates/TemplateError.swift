/// Why a template cannot be read or rendered, and in which line of it.
package struct TemplateError: Error, Equatable {
  package enum Kind: Sendable {
    /// Not Jinja.
    case malformed
    /// Jinja that is not part of the subset: "`{% include %}`".
    case unsupported
    /// What Jinja, too, would stop at: "`tools` is undefined".
    case failed
    /// The template called `raise_exception`; the reason is its own text.
    case raised
    /// More steps, depth or text than a template may take.
    case limit
  }

  package let kind: Kind
  package let reason: String
  /// From 1.
  package let line: Int

  init(_ kind: Kind, _ reason: String, line: Int) {
    self.kind = kind
    self.reason = reason
    self.line = line
  }
}

/// What a template may take, however it is written.
package struct TemplateLimits: Sendable {
  /// Bytes of the template itself.
  package static var sourceByteCount: Int { 1 << 20 }
  /// How deep expressions and blocks may stand in each other.
  static var nesting: Int { 100 }
  /// How deep calls of macros, blocks and expressions together may go.
  static var depth: Int { 400 }
  /// How deep lists and mappings may stand in each other.
  static var valueDepth: Int { 80 }
  /// The longest `range`, as in Jinja's sandbox.
  static var rangeCount: Int { 100_000 }

  /// Evaluated nodes, plus one for every 256 bytes looked through.
  package var steps = 10_000_000
  /// Bytes of all values made, beside ``bytesPerInputByte`` for each byte of the variables.
  package var bytes = 1 << 28
  package var bytesPerInputByte = 16

  package init() {}
}
