import JSON
import Templates

/// Renders chat templates, to be compared with another renderer.
///
/// Each line of stdin is a JSON object: `template` holds the text of the template from here on, `variables` what to
/// render it with. For each line with variables there is one on stdout, with `text` and `contents`, the ranges of its
/// bytes that come from the variables, or with `error` and `line`.
@main
enum Main {
  static func main() throws {
    var source = ""
    while let line = readLine() {
      let request = try JSONParser.parse(line)
      if let text = request.object?["template"]?.string { source = text }
      guard let variables = request.object?["variables"]?.object else { continue }
      print(answer(source, variables).text(indented: false))
    }
  }

  static func answer(_ source: String, _ variables: JSONObject) -> JSONValue {
    do throws(TemplateError) {
      let values = variables.members.map { member in
        (name: member.key, value: TemplateValue(member.value, isContent: true) ?? .none)
      }
      let text = try Template(source).render(values)
      return [
        "text": .string(text.string),
        "contents": .array(text.contents.map { [JSONValue($0.lowerBound), JSONValue($0.upperBound)] }),
      ]
    } catch {
      return ["error": .string(error.reason), "kind": .string("\(error.kind)"), "line": JSONValue(error.line)]
    }
  }
}
