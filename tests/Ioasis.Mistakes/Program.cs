using Ioasis.Mistakes;

if (args is not ["copy", string list, string source, string destination])
{
    Console.Error.WriteLine("usage: copy LIST SOURCE DESTINATION    writes SOURCE with the mistakes of LIST, each behind a switch");
    return 2;
}

try
{
    List<string> errors = SourceCopy.Write(list, MistakeList.Parse(list), source, destination);
    errors.ForEach(Console.WriteLine);
    return errors.Count == 0 ? 0 : 1;
}
catch (Exception e) when (e is FormatException or IOException)
{
    Console.WriteLine($"{list}(1): error MISTAKE: {e.Message}");
    return 1;
}
