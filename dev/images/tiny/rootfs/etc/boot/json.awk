# Flattens a JSON document into lines "path.to.key<TAB>value". Array elements are numbered from 0.
# A newline inside a string becomes a space.

{ text = text $0 "\n" }

END { position = 1; read_value("") }

function peek() {
    while (substr(text, position, 1) ~ /[ \t\r\n]/ && position <= length(text)) position++
    return substr(text, position, 1)
}

function read_value(path,    first, start) {
    first = peek()
    if (first == "{") read_members(path)
    else if (first == "[") read_elements(path)
    else if (first == "\"") print path "\t" read_string()
    else {
        start = position
        while (position <= length(text) && substr(text, position, 1) !~ /[],} \t\r\n]/) position++
        print path "\t" substr(text, start, position - start)
    }
}

function read_members(path,    key) {
    position++
    while (position <= length(text) && peek() != "}") {
        key = read_string()
        peek(); position++                            # the colon
        read_value(path == "" ? key : path "." key)
        if (peek() == ",") position++
    }
    position++
}

function read_elements(path,    index_) {
    position++
    index_ = 0
    while (position <= length(text) && peek() != "]") {
        read_value(path "." index_++)
        if (peek() == ",") position++
    }
    position++
}

function read_string(    result, character) {
    peek(); position++                                # the opening quote
    result = ""
    while (position <= length(text)) {
        character = substr(text, position++, 1)
        if (character == "\"") break
        if (character == "\\") character = read_escape()
        result = result character
    }
    return result
}

function read_escape(    character) {
    character = substr(text, position++, 1)
    if (character ~ /[nrtbf]/) return " "
    if (character != "u") return character
    position += 4
    return sprintf("%c", read_hex(substr(text, position - 4, 4)))
}

function read_hex(digits,    number, i) {
    number = 0
    for (i = 1; i <= length(digits); i++) number = number * 16 + index("0123456789abcdef", tolower(substr(digits, i, 1))) - 1
    return number
}
