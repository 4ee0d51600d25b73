using Ioasis.TraceGenerator;

return GeneratorCommand.Run(args, Console.Error);
