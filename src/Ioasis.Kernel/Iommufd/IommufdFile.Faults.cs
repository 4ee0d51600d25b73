using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <content>Fault queues.</content>
internal sealed partial class IommufdFile
{
    private static Errno FaultAllocCall(IommufdFile file, KernelProcess caller, ref IommuFaultAlloc argument)
    {
        if (argument.Flags != 0)
        {
            return Errno.NotSupported;
        }

        FaultQueueObject queue = new(file);
        Errno error = file.AddQueue(caller, queue, out int descriptor);
        if (error == Errno.Success)
        {
            argument.OutFaultId = queue.Id;
            argument.OutFaultFd = (uint)descriptor;
        }

        return error;
    }

    // The object first, so that the descriptor, once somebody can see it, has one. On failure the object is destroyed.
    private Errno AddQueue<T>(KernelProcess caller, T queue, out int descriptor)
        where T : KernelObject, IEventQueue
    {
        descriptor = -1;
        Errno error = _objects.Add(queue);
        if (error != Errno.Success)
        {
            queue.Destroy();
            return error;
        }

        error = EventQueueFile.TryOpen(caller, this, queue, out descriptor);
        if (error != Errno.Success)
        {
            _objects.Abandon(queue);
        }

        return error;
    }
}
