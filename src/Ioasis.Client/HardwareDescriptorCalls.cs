using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>Reads and writes of descriptors that give events.</summary>
internal static class HardwareDescriptorCalls
{
    public static Errno TryRead(this KernelDescriptor descriptor, Span<byte> destination, out int count)
    {
        nint result = -1;
        bool held = false;
        try
        {
            descriptor.DangerousAddRef(ref held);
            result = descriptor.Kernel.Read(descriptor.Number, destination);
        }
        finally
        {
            if (held)
            {
                descriptor.DangerousRelease();
            }
        }

        count = (int)Math.Max(0, result);
        return result < 0 ? (Errno)(int)-result : Errno.Success;
    }

    public static Errno TryWrite(this KernelDescriptor descriptor, ReadOnlySpan<byte> source)
    {
        bool held = false;
        try
        {
            descriptor.DangerousAddRef(ref held);
            nint result = descriptor.Kernel.Write(descriptor.Number, source);
            return result < 0 ? (Errno)(int)-result : Errno.Success;
        }
        finally
        {
            if (held)
            {
                descriptor.DangerousRelease();
            }
        }
    }

    public static bool WaitForInput(this KernelDescriptor descriptor, int timeoutMilliseconds)
    {
        bool held = false;
        try
        {
            descriptor.DangerousAddRef(ref held);
            return descriptor.Kernel.Poll(descriptor.Number, PollEvents.In, timeoutMilliseconds, out PollEvents ready) > 0
                && (ready & PollEvents.In) != 0;
        }
        finally
        {
            if (held)
            {
                descriptor.DangerousRelease();
            }
        }
    }
}
