using Microsoft.Extensions.Logging;

namespace Ioasis.Cli;

/// <summary>Log lines as a command's complaints are written: one line each, after the program's name. Thread-safe.</summary>
internal sealed class TextLogger(TextWriter writer) : ILogger
{
    private readonly Lock _lock = new();

    /// <inheritdoc/>
    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    /// <inheritdoc/>
    public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Information;

    /// <inheritdoc/>
    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (IsEnabled(logLevel))
        {
            string reason = exception is null ? string.Empty : $" ({exception.GetType().Name}: {exception.Message})";
            lock (_lock)
            {
                writer.WriteLine($"ioasis: {Rendering.Format.Printable(formatter(state, exception) + reason)}");
            }
        }
    }
}
