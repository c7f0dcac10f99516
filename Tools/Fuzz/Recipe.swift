import Conversion
import JSON

/// What a recipe's reader accepts reads back as itself; what it refuses has a place in the text.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = unsafe Array(UnsafeBufferPointer(start: start, count: count))
  do throws(RecipeError) {
    let recipe = try Recipe(json: input)
    let text = recipe.json.text()
    guard let again = try? Recipe(json: Array(text.utf8)), again == recipe else {
      fatalError("reads back differently: \(text)")
    }
  } catch {
    if case .file(let detail, let byteOffset) = error, detail.isEmpty || !(0...input.count).contains(byteOffset) {
      fatalError("an error without a place: \(error)")
    }
  }
  if let text = String(validating: input, as: UTF8.self), let rule = try? Recipe.rule(parsing: text) {
    guard !rule.match.isEmpty, text.hasPrefix(rule.match) else { fatalError("another pattern: \(rule)") }
  }
  return 0
}
