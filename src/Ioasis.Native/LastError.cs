using System.Runtime.InteropServices;
using System.Text;
using Ioasis.Primitives;

namespace Ioasis.Native;

/// <summary>
/// What each thread's last failed call has to say. A call that fails only notes what happened; the sentence is made when somebody
/// asks for it, so that a failure costs no more than a success.
/// </summary>
internal static unsafe class LastError
{
    private const int ArgumentBytes = 96;

    [ThreadStatic]
    private static State? t_state;

    /// <summary>Notes a failure with its sentence.</summary>
    /// <returns>What the call returns.</returns>
    public static int Set(string call, Failure failure) => Set(call, failure.Error, failure.Text);

    /// <summary>Notes a failure with its sentence.</summary>
    public static int Set(string call, Errno error, string text)
    {
        State state = t_state ??= new();
        state.Kind = Kind.Text;
        state.Call = call;
        state.Error = (int)error;
        state.Text = text;
        return -(int)error;
    }

    /// <summary>Notes that a call on a descriptor failed.</summary>
    public static nint SetDescriptor(string call, int descriptor, nint result)
    {
        State state = t_state ??= new();
        state.Kind = Kind.Descriptor;
        state.Call = call;
        state.Error = (int)-result;
        state.Descriptor = descriptor;
        return result;
    }

    /// <summary>Notes that an ioctl failed, with the beginning of its argument.</summary>
    public static int SetIoctl(int descriptor, uint request, int result, ReadOnlySpan<byte> argument)
    {
        State state = t_state ??= new();
        state.Kind = Kind.Ioctl;
        state.Call = "ioctl";
        state.Error = -result;
        state.Descriptor = descriptor;
        state.Request = request;
        state.ArgumentLength = Math.Min(argument.Length, ArgumentBytes);
        argument[..state.ArgumentLength].CopyTo(state.Argument);
        return result;
    }

    /// <summary>The sentence, with a zero at the end; valid until this thread asks again.</summary>
    public static nint Text()
    {
        State state = t_state ??= new();
        state.Show(state.Kind switch
        {
            Kind.Text => $"{state.Call}: {state.Text} ({ErrnoText.NameOf(state.Error)})",
            Kind.Descriptor => $"{state.Call}: {CallText.OfDescriptor(state.Descriptor, state.Error)} ({ErrnoText.NameOf(state.Error)})",
            Kind.Ioctl => $"{CallText.OfIoctl(state.Descriptor, state.Request, state.Error, state.Argument.AsSpan(0, state.ArgumentLength))} ({ErrnoText.NameOf(state.Error)})",
            _ => "",
        });
        return state.Shown;
    }

    private enum Kind
    {
        None,
        Text,
        Descriptor,
        Ioctl,
    }

    private sealed class State
    {
        public readonly byte[] Argument = new byte[ArgumentBytes];
        public Kind Kind;
        public string Call = "";
        public string Text = "";
        public int Error;
        public int Descriptor;
        public uint Request;
        public int ArgumentLength;

        public nint Shown { get; private set; }

        // With the thread.
        ~State() => NativeMemory.Free((void*)Shown);

        public void Show(string text)
        {
            byte[] bytes = Encoding.UTF8.GetBytes(text);
            Shown = (nint)NativeMemory.Realloc((void*)Shown, (nuint)bytes.Length + 1);
            bytes.CopyTo(new Span<byte>((void*)Shown, bytes.Length));
            ((byte*)Shown)[bytes.Length] = 0;
        }
    }
}
