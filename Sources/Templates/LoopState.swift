/// A loop under way.
package final class LoopState {
  private(set) var index0 = -1
  private(set) var previous: TemplateValue?
  private var current: TemplateValue?
  private var rest: ArraySlice<TemplateValue>
  /// Items that were looked at before their turn.
  var ahead: [TemplateValue] = []
  let syntax: Statement.Loop
  /// Around the loop.
  let scope: Scope

  init(_ values: [TemplateValue], _ syntax: Statement.Loop, _ scope: Scope) {
    rest = values[...]
    self.syntax = syntax
    self.scope = scope
  }

  func takeRest() -> TemplateValue? { rest.popFirst() }
  func takeAhead() -> TemplateValue? { ahead.isEmpty ? nil : ahead.removeFirst() }

  func enter(_ item: TemplateValue) {
    index0 += 1
    (previous, current) = (current, item)
  }
}
